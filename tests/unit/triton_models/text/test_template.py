"""A chat template renders as transformers renders it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.tiny_model import make_tokenizer, served
from triton_models.text.template import TemplateRenderer

USER = {"role": "user", "content": " What <b>is</b> it? "}
CHAT = [{"role": "system", "content": "Be kind."}, USER, {"role": "assistant", "content": "One, "}]
TOOL = {"type": "function", "function": {"name": "é<f>", "parameters": {"a": [1, None]}}}

EACH = "{% for message in messages %}"
TEMPLATES = {
    "blocks": f"{EACH}\n    {{% if message.role == 'user' %}}\n  U\n    {{%- endif %}}\n"
    "{{ message['content'] }}\n{% endfor %}\n\n",
    "control of loops": f"{EACH}{{% if loop.first %}}{{% continue %}}{{% endif %}}"
    "{{ message.content }}{% break %}{% endfor %}",
    "JSON": "{{ tools | tojson }}{{ messages | tojson(indent=2, sort_keys=true) }}",
    "names": "{{ bos_token }}{{ eos_token }}{{ pad_token }}{{ documents }}{{ tools is none }}",
    "training": f"{{% set kept = 0 %}}{EACH}{{% generation %}}{{% set kept = 1 %}}"
    "{{ message.content }}{{ loop.index }}{% endgeneration %}{{ kept }}{% endfor %}{{ kept }}",
    "time": "{{ strftime_now('%Y %m') }}{{ messages[0].content }}",
    "namespaces": f"{{% set ns = namespace(n=0) %}}{EACH}{{% set ns.n = ns.n + 1 %}}{{% endfor %}}"
    "{{ ns.n }}{% if add_generation_prompt %}A{% endif %}",
    "trimming": f"{EACH}[{{{{ message.role }}}}]{{{{ message.content | trim }}}};{{% endfor %}}",
    "keeping": f"{EACH}[{{{{ message.role }}}}]{{{{ message.content }}}};{{% endfor %}}",
}


def pair(template: str | dict[str, str]) -> tuple[TemplateRenderer, Any]:
    tokenizer = make_tokenizer()
    tokenizer.chat_template = template
    return TemplateRenderer(served(tokenizer)), tokenizer


@pytest.mark.parametrize("opens", [True, False])
@pytest.mark.parametrize("tools", [None, [TOOL]])
@pytest.mark.parametrize("name", TEMPLATES)
def test_it_renders_as_transformers_renders_it(name: str, tools: Any, opens: bool) -> None:
    ours, theirs = pair(TEMPLATES[name])
    expected = theirs.apply_chat_template(
        CHAT, tools=tools, tokenize=False, add_generation_prompt=opens
    )
    assert ours.render(CHAT, tools, add_generation_prompt=opens) == expected


@pytest.mark.parametrize("content", ["One, ", "One,", " One \n\n", ""])
@pytest.mark.parametrize("name", ["trimming", "keeping"])
def test_it_ends_with_a_content_that_goes_on(name: str, content: str) -> None:
    ours, theirs = pair(TEMPLATES[name])
    chat = [*CHAT[:2], {"role": "assistant", "content": content}]
    expected = theirs.apply_chat_template(chat, tokenize=False, continue_final_message=True)
    assert ours.render(chat, None, continue_final_message=True) == expected
    assert chat[-1]["content"] == content


@pytest.mark.parametrize(
    "template",
    [
        "{{ messages[0].content }}",
        "{{ messages[-1].content.replace('One', 'Two') }}",
        "{{ messages[-1].role }}",
        "{{ messages[-1] | length }}",
    ],
)
def test_a_content_that_is_not_shown_as_it_is_cannot_go_on(template: str) -> None:
    ours, theirs = pair(template)
    with pytest.raises(ValueError, match="continue_final_message"):
        theirs.apply_chat_template(CHAT, tokenize=False, continue_final_message=True)
    with pytest.raises(Exception, match="content"):
        ours.render(CHAT, None, continue_final_message=True)


@pytest.mark.parametrize("tools", [None, [TOOL]])
def test_tools_have_a_template_of_their_own_where_there_is_one(tools: Any) -> None:
    ours, theirs = pair({"default": "a", "tool_use": "b"})
    assert ours.render(CHAT, tools) == theirs.apply_chat_template(CHAT, tools=tools, tokenize=False)


@pytest.mark.parametrize(
    ("template", "says"),
    [
        ("{{ raise_exception('no: ' + messages[0].role) }}", "no: system"),
        ("{{ messages.append(1) }}", "append"),
        ("{{ ''.__class__.__mro__ }}", "unsafe"),
        ("{% if %}", "[Ee]xpected"),
    ],
)
def test_what_it_refuses_or_may_not_do_fails_the_chat(template: str, says: str) -> None:
    ours, theirs = pair(template)
    for render in (ours.render, theirs.apply_chat_template):
        with pytest.raises(Exception, match=says):
            render(CHAT, None)
