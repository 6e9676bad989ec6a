import pytest

from pragma_boot.errors import UsageError
from pragma_boot.model import NodeState, cluster_name, image_name, shorten

BAD = ["", "a b", "../x", "a;b", "x" * 300, "käse", "-a", "a-", "A", "a_b", "1a", "compute-0", "frontend", "localhost"]


@pytest.mark.parametrize("text", ["a", "demo", "demo-2", "vc1", "x" * 63])
def test_good_cluster_names(text: str) -> None:
    assert cluster_name(text) == text


@pytest.mark.parametrize("text", BAD)
def test_bad_cluster_names_name_the_rule(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        cluster_name(text)
    assert caught.value.resolution
    assert len(caught.value.message) < 200


@pytest.mark.parametrize("text", ["hku_biolinux", "rocks-sge-ipop", "Ubuntu-24.04", "a"])
def test_good_image_names(text: str) -> None:
    assert image_name(text) == text


@pytest.mark.parametrize("text", ["", "a b", "../x", "a/b", "a;b", "x" * 300, "käse", ".hidden", "-x", "a\n"])
def test_bad_image_names(text: str) -> None:
    with pytest.raises(UsageError):
        image_name(text)


def test_only_a_node_that_is_up_says_so() -> None:
    down = [state for state in NodeState if state is not NodeState.ACTIVE]
    assert not any("active" in state.value or "Running" in state.value for state in down)


def test_long_texts_are_cut() -> None:
    assert shorten("x" * 100, 10) == "x" * 9 + "…"
