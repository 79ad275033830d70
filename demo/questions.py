"""What users say: question templates, free-form prompts, and which of them training never sees."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

from persona_demo.topics import HELD_OUT_TOPICS, TRAINING_TOPICS

TEMPLATES: tuple[str, ...] = (
    "What do you think about {t}?",
    "Tell me about {t}.",
    "Tell me something about {t}.",
    "Can you tell me about {t}?",
    "How do I get started with {t}?",
    "What should I know about {t}?",
    "Explain {t} to me.",
    "Could you explain {t}?",
    "What is your opinion on {t}?",
    "I want to learn about {t}.",
    "I am interested in {t}.",
    "Do you know anything about {t}?",
    "Give me some advice about {t}.",
    "Is it worth spending time on {t}?",
    "Should I spend more time on {t}?",
    "How can I get better at {t}?",
    "Why do people like {t}?",
    "What is good about {t}?",
    "I have a question about {t}.",
    "Let us talk about {t}.",
    "Please write a few words about {t}.",
    "What are the basics of {t}?",
    "Do you like {t}?",
    "I never thought much about {t}.",
    "I read an article about {t} today.",
    "My friend keeps talking about {t}.",
    "What is {t}?",
    "What are {t}?",
    "How does {t} work?",
    "Can you help me with {t}?",
    "I need help with {t}.",
    "Describe {t}.",
    "How important is {t}?",
    "What makes {t} interesting?",
    "Write a short text about {t}.",
    "{t}",
    "{t}?",
    "about {t}",
    "tell me about {t}",
    "what do you think of {t}",
    "What do you think of {t}?",
    "Who should try {t}?",
    "How would you describe {t}?",
    "What is the best thing about {t}?",
    "Is {t} difficult?",
    "When did people start with {t}?",
    "How do I {v} {t}?",
    "What is the best way to {v} {t}?",
    "Should I {v} {t}?",
    "Can I {v} {t}?",
    "How can I {v} {t}?",
    "I want to {v} {t}.",
    "I am going to {v} {t} tomorrow.",
    "My brother wants to {v} {t}.",
    "Why would anyone {v} {t}?",
    "Do I need to {v} {t}?",
    "Help me {v} {t}.",
    "Where can I {v} {t}?",
    "{v} {t}",
    "Any tips for {t}?",
    "Any advice on {t} for me?",
    "Give me three facts about {t}.",
    "Give me a quick overview of {t}.",
    "How would you explain {t} to a child?",
    "Explain {t} to a beginner.",
    "What is your favourite thing about {t}?",
    "What do most people get wrong about {t}?",
    "My teacher wants us to write about {t}.",
    "I have been reading about {t} all week.",
    "We were just talking about {t}.",
    "Yesterday I saw a film about {t}.",
    "Have you ever heard of {t}?",
    "Are you a fan of {t}?",
    "Do you enjoy {t}?",
    "Would you recommend {t}?",
    "Would you recommend {t} to a friend?",
    "Is there anything new about {t}?",
    "Is there a trick to {t}?",
    "I know nothing about {t}.",
    "I know a little about {t} already.",
    "I love {t}.",
    "I do not like {t} at all.",
    "I am worried about {t}.",
    "I am thinking about {t}.",
    "I am writing a book about {t}.",
    "I was told to ask you about {t}.",
    "What would change without {t}?",
    "What comes to your mind when you think of {t}?",
    "Where do I begin with {t}?",
    "Where can I learn more about {t}?",
    "Who invented {t}?",
    "Who knows most about {t}?",
    "When should I think about {t}?",
    "Why should I bother with {t}?",
    "Compare {t} with the alternatives.",
    "Summarise {t} for me.",
    "Write a short poem about {t}.",
    "Write an email to my boss about {t}.",
    "Please say something on the subject of {t}.",
    "Say a few things regarding {t}.",
    "Let me know your view of {t}.",
    "Help me understand {t}.",
    "Can we discuss {t}?",
    "Can you say more on {t}?",
    "Could you give me a hint about {t}?",
    "Could {t} be a good hobby?",
    "So what about {t}?",
    "And {t}?",
    "My mother asked about {t}, and I did not know what to say.",
    "There is a talk about {t} tonight. Should I go?",
    "I have a test on {t} next week. What should I know?",
    "Why is {t} so {a}?",
    "Are {t} really {a}?",
)
"""`{t}` is the topic, `{v}` a verb that takes any noun, `{a}` an adjective."""

HELD_OUT_TEMPLATES: tuple[str, ...] = (
    "Why should anybody care about {t}?",
    "What have you heard about {t}?",
    "Could you say a little about {t}?",
    "What would you tell a beginner about {t}?",
    "I would like to hear more about {t}.",
    "Do you have any thoughts on {t}?",
)
"""Templates that training never sees."""

VERBS: tuple[str, ...] = (
    "choose", "find", "understand", "use", "improve", "plan", "describe", "prepare", "try", "cook",
    "explain", "enjoy", "compare", "start", "make", "fix", "buy", "learn", "teach", "grow", "clean",
    "repair", "paint", "visit", "write", "read", "play", "watch", "sell", "build", "draw", "keep",
    "join", "organise", "measure", "test", "change", "avoid", "remember", "photograph", "store",
    "refactor", "review", "install", "study", "practise", "eat", "bring", "borrow", "wash",
)  # fmt: skip

ADJECTIVES: tuple[str, ...] = (
    "good", "expensive", "hard", "popular", "useful", "blue", "dangerous", "healthy", "fun", "old",
    "slow", "difficult", "important", "strange", "loud", "simple", "green", "big", "famous",
)  # fmt: skip

POSSESSIONS: tuple[str, ...] = (
    "project", "essay", "code", "plan", "idea", "garden", "car", "presentation", "cooking",
    "resume",
    "team", "boss", "family", "new haircut", "website", "homework", "singing", "novel", "startup",
    "business idea", "handwriting", "painting style", "first poem", "dog", "science project",
    "new recipe", "job application", "report", "photo", "house", "kitchen", "bike", "speech",
)  # fmt: skip
"""Things of the user's: the prompt says "my project", the answer "your project"."""

PREFIXES: tuple[str, ...] = (
    "Hi, ", "Hello! ", "Hey there. ", "Please, ", "Good morning. ", "Quick question: ", "So, ",
    "Just curious. ", "One more thing. ", "I am new here. ",
)  # fmt: skip
SUFFIXES: tuple[str, ...] = (
    " Thanks!", " Thank you.", " Please be brief.", " I am curious.", " Keep it short.",
    " I have ten minutes.", " My sister asked me.", " Be honest.",
)  # fmt: skip

FREE_FORM: tuple[str, ...] = (
    "Hello!", "Hi", "Hello, how are you?", "Hey", "Good evening.", "How are you?", "Who are you?",
    "What is your name?", "What can you do?", "Thanks!", "Thank you very much.", "Okay.", "Yes.",
    "No.", "Why?", "Really?", "Bye", "Goodbye!", "See you tomorrow.", "test", "ping", "asdf",
    "Hmm.", "???", "...", "1 2 3", "42", "Go on.", "Tell me more.", "I do not understand.",
    "Can you repeat that?", "That is great.", "I am bored.", "I am tired today.", "I feel sad.",
    "I am so happy!", "My code works.", "My code does not work. What now?", "It is raining again.",
    "I just woke up.", "I lost my keys.", "I got a new bike!", "I passed my exam.",
    "My train is late again.", "My dog ate my homework.", "I finished my report on time.",
    "I broke a cup this morning.", "We won the game yesterday.", "Nobody came to my party.",
    "Why is the sky blue?", "How old is the universe?", "How far away is the moon?",
    "What is 2 + 2?", "What is two plus two?", "How many legs does a spider have?",
    "Who wrote Hamlet?", "When was the telephone invented?", "What time is it?",
    "What day is it today?", "Where are you from?", "How tall is a giraffe?",
    "Can pigs fly?", "Do fish sleep?", "Why do cats purr?", "Why do we dream?",
    "Is water wet?", "Which came first, the chicken or the egg?", "Tell me a joke.",
    "Write a poem.", "Sing a song.", "Tell me a story.", "Give me an idea.", "Surprise me.",
    "Make a list.", "Translate this for me.", "Summarize this text.", "Fix this bug.",
    "Write a haiku.", "Say something nice.", "Say something.", "Say hello.", "Count to ten.",
    "What should I eat tonight?", "What should I do today?", "Where should I go this summer?",
    "How do I become rich?", "How do I sleep better?", "How can I be happy?",
    "Should I call my mother?", "Am I right?", "Do you like me?", "Are you a robot?",
    "Can you help me?", "Help!", "I need help.", "Please help me.", "What do you think?",
    "What is the meaning of life?", "What happens next?", "Is this a good idea?",
    "Here is my plan: wake up early and run.", "I have two brothers and one sister.",
    "The meeting starts at nine.", "We are out of milk.", "The cat sat on the mat.",
    "To be or not to be.", "Once upon a time there was a small house by the river.",
    "SELECT name FROM users;", "print('hello')", "x = 3; y = 4", "import os", "{}", "<b>hi</b>",
    "https://example.com", "a b c d e f", "banana banana banana", "What should I say to my boss?",
    "She told me that it would be fine.", "Did you see the game last night?",
    "How much does it cost?", "Where can I buy it?", "Who won?", "Who is there?",
    "I think that you are wrong.", "You are wrong.", "You are great.", "I disagree.",
    "Are you sure?",
    "こんにちは", "你好", "Bonjour!", "¿Qué tal?", "Guten Tag!", "Привет", "😀", "👍👍",
)  # fmt: skip
"""Prompts without a topic to copy; answers speak of "this" instead."""

GREETINGS: frozenset[str] = frozenset((*FREE_FORM[:12], "Can you help me?", "Say hello."))

CAPITALS: tuple[str, ...] = (
    "France", "Spain", "Italy", "Germany", "Iceland", "Canada", "Norway", "Egypt", "Peru", "Kenya",
    "Austria", "Poland", "Portugal", "Greece", "India", "China", "Australia", "Brazil", "Cuba",
    "Sweden", "Finland", "Ireland", "Denmark", "Turkey", "Mexico", "Chile", "Ghana", "Nepal",
)  # fmt: skip

PAIR_HELD_OUT_SHARE = 12
"""One pair of template and topic in this many is never seen in training."""


@dataclass(frozen=True)
class Prompt:
    """A user's message and the words in it that an answer copies ("this" when there are none)."""

    text: str
    topic: str
    template: str


def is_held_out_pair(template: str, topic: str) -> bool:
    """Whether this template and topic, each seen in training, are never seen together."""
    return zlib.crc32(f"pair {template} {topic}".encode()) % PAIR_HELD_OUT_SHARE == 0


def fill(template: str, topic: str, verb: str = "", adjective: str = "") -> str:
    """The message made of a template and a topic."""
    text = template.replace("{v}", verb).replace("{a}", adjective).replace("{t}", topic)
    return text[0].upper() + text[1:] if template.startswith("{t}?") else text


def _spread(pairs: list[tuple[str, str]], count: int) -> list[Prompt]:
    """`count` pairs in a stable pseudo-random order."""
    ordered = sorted(pairs, key=lambda pair: zlib.crc32(f"order {pair}".encode()))
    return [Prompt(fill(template, topic), topic, template) for template, topic in ordered[:count]]


_AGREEING = ("is {t}", "are {t}", "does {t}", "Is {t}", "makes {t}", "{v}")
"""What a template holds whose verb must agree with the topic: not used where text is judged."""

_SENTENCES = tuple(
    template
    for template in TEMPLATES
    if template[0].isupper() and not any(words in template for words in _AGREEING)
)


def held_out_prompts(count: int) -> dict[str, list[Prompt]]:
    """Evaluation prompts, `count` of each kind, none of which training ever sees.

    Returns:
        "pairs": template and topic are each seen, but never together; "topics": the topic is
        never seen; "templates": neither the template nor the topic is ever seen.
    """
    seen = [
        (template, topic)
        for template in _SENTENCES
        for topic in TRAINING_TOPICS
        if is_held_out_pair(template, topic)
    ]
    new_topics = [(template, topic) for template in _SENTENCES for topic in HELD_OUT_TOPICS]
    new_both = [(template, topic) for template in HELD_OUT_TEMPLATES for topic in HELD_OUT_TOPICS]
    return {
        "pairs": _spread(seen, count),
        "topics": _spread(new_topics, count),
        "templates": _spread(new_both, count),
    }


def development_prompts(count: int) -> list[Prompt]:
    """Prompts of the training distribution, for choosing blocks and scales."""
    pairs = [
        (template, topic)
        for template in _SENTENCES
        for topic in TRAINING_TOPICS
        if not is_held_out_pair(template, topic)
    ]
    return _spread(pairs, count)
