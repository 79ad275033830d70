"""What clients see: the calls of the REST API and of OpenAI's, their bodies and their answers."""
