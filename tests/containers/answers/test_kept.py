"""The last answers of containers that sleep."""

from __future__ import annotations

import msgspec
from msgspec import Raw

from infernet_edge.config.model import Container
from infernet_edge.containers.answers.kept import MAX_ABOUT_MODEL, MAX_MODELS, KeptAnswers
from infernet_edge.containers.service import Service

YES, NO = {"supported": Raw(b"true")}, {"supported": Raw(b"false")}


def service(*, may_sleep: bool = True) -> Service:
    made = Service(Container(id="a", image="x:1"), managed=True)
    made.may_sleep = may_sleep
    return made


def test_the_last_answer_about_each_model_is_kept() -> None:
    kept, asked = KeptAnswers(), service()
    assert kept.find(asked) is kept.find(asked, "m") is None
    kept.keep(asked, "m", NO, 10)
    kept.keep(asked, "m", YES, 10)
    kept.keep(asked, "", {"service_id": Raw(b'"a"')}, 10)
    assert kept.find(asked, "m") == YES
    assert kept.find(asked) == {"service_id": Raw(b'"a"')}
    assert kept.find(service(), "m") is None


def test_a_copy_is_given() -> None:
    kept, asked = KeptAnswers(), service()
    kept.keep(asked, "", dict(YES), 10)
    found = kept.find(asked)
    assert found is not None
    found.clear()
    assert kept.find(asked) == YES


def test_nothing_is_kept_of_one_that_does_not_sleep() -> None:
    kept, asked = KeptAnswers(), service(may_sleep=False)
    kept.keep(asked, "", YES, 10)
    assert kept.find(asked) is None


def test_another_image_has_other_answers() -> None:
    kept, asked = KeptAnswers(), service()
    kept.keep(asked, "", YES, 10)
    asked.apply(msgspec.structs.replace(asked.container, timeout=5.0), managed=True)
    assert kept.find(asked) == YES
    asked.apply(msgspec.structs.replace(asked.container, image="x:2"), managed=True)
    assert kept.find(asked) is None


def test_they_are_bounded() -> None:
    kept, asked = KeptAnswers(), service()
    kept.keep(asked, "", YES, 10**6)
    kept.keep(asked, "long", YES, MAX_ABOUT_MODEL + 1)
    assert kept.find(asked, "long") is None
    for number in range(MAX_MODELS + 1):
        kept.keep(asked, f"m{number}", YES, 10)
    assert kept.find(asked, "m0") is None
    assert kept.find(asked, "m1") == kept.find(asked, f"m{MAX_MODELS}") == kept.find(asked) == YES
