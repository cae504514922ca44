"""KEY=VALUE: one parser for every command, and values with characters that Hydra's grammar does not have."""

import shlex

import pytest

from tfscale.config.overrides import parse, quoted, separate, shell_word, value_text
from tfscale.config.preflight import preflight
from tfscale.errors import UserError

ODD = ("a,b", "a=b", "müller", "~/x", "it's", 'a"b', "a b", "x\\", "[a]", "{a}", "a#b", "日本", "null", "1e3", "")


@pytest.mark.parametrize("text", ODD)
def test_a_quoted_text_comes_back(text: str) -> None:
    (override,) = parse([f"run.dir={quoted(text)}"])
    assert not override.is_sweep_override()
    assert override.value() == text


@pytest.mark.parametrize("text", ODD[:-3])
def test_a_word_for_the_shell_comes_back(text: str) -> None:
    (word,) = shlex.split(shell_word("run.dir", text))
    assert value_text(parse([word])[0]) == text
    assert shell_word("run.dir", "/tmp/runs") == "run.dir=/tmp/runs"


@pytest.mark.parametrize("text", ["müller", "~/x", "a=b", "a#b", "x;y", "日本", "/tmp/ü/x_1.npz"])
def test_a_value_that_hydra_cannot_read_needs_no_quotes(text: str) -> None:
    """`data.file=~/x.npz` was "an override cannot be read: token recognition error"."""
    (override,) = parse([f"data.file={text}"])
    assert override.value() == text


@pytest.mark.parametrize("word", ["a=[é]", "a='é", "a=é,ö", "~a=é", "a=\x1b;", "a=(#"])
def test_what_has_a_meaning_for_hydra_is_not_quoted(word: str) -> None:
    with pytest.raises(UserError, match=r"an override cannot be read: .*; quote values with special characters"):
        parse([word])


@pytest.mark.parametrize("word", ["train", "=1", "-x y"])
def test_a_word_without_a_key_is_refused(word: str) -> None:
    with pytest.raises(UserError, match=f"{word} must be KEY=VALUE, without spaces or in quotes"):
        parse([word])


def test_a_name_that_looks_like_a_number_stays_as_it_was_typed() -> None:
    assert [value_text(each) for each in parse(["run=1e3", "run=007", "run=null", "run='1e3'"])] == [
        *("1e3", "007", "null", "1e3"),
    ]


def test_a_commands_own_keys_are_separated_and_have_one_value() -> None:
    own, rest = separate(parse(["run=a", "seed=1", "run=b", "run.dir='x,y'"]), ("run", "run.dir"))
    assert own == {"run": "b", "run.dir": "x,y"}
    assert [each.input_line for each in rest] == ["seed=1"]
    with pytest.raises(UserError, match=r"run=a,b has several values, and this command takes one; quote a comma: KEY="):
        separate(parse(["run=a,b"]), ("run",))


def test_a_key_can_be_added_where_a_table_takes_any() -> None:
    """`+task.outputs.price=...` was not a key: the table of `outputs` was looked for in `outputs` itself."""
    application = ("model=application", "+model.options.alpha=0.35")
    assert preflight(application, config_dir=None).model["options"] == {"alpha": 0.35}
    several = ("task=several", "+task.outputs.price=regression")
    assert preflight(several, config_dir=None).task["outputs"] == {"price": "regression"}
    for word in ("+model.options.a.b=1", "+model.option.alpha=1", "+model.hidden.alpha=1", "+train.model.alpha=1"):
        with pytest.raises(UserError, match="is not a key"):
            preflight(["model=application", word], config_dir=None)
