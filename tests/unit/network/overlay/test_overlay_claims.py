from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from pragma_boot.errors import CapacityError, UsageError
from pragma_boot.network.overlay.claims import Claims, Member, NameTakenError, give_back, grant

SLOTS = 10
HOLDERS = st.sampled_from(["a@1", "b@2", "c@3", "d@4"])


class Slots(RuleBasedStateMachine):
    """Clusters that come, come again with more or fewer nodes, and go, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.claims = Claims()
        self.wanted: dict[str, int] = {}

    @rule(holder=HOLDERS, count=st.integers(1, SLOTS))
    def ask(self, holder: str, count: int) -> None:
        before, names = self.claims, [f"n{i}.{holder[0]}" for i in range(count)]
        others = sum(number for other, number in self.wanted.items() if other != holder)
        try:
            self.claims = grant(before, holder, names, SLOTS)
        except CapacityError:
            assert others + count > SLOTS
            return
        assert others + count <= SLOTS
        kept = set(before.of(holder)) & set(self.claims.of(holder))
        assert len(kept) == min(count, len(before.of(holder)))
        assert [self.claims.members[slot].name for slot in self.claims.of(holder)] == names
        self.wanted[holder] = count

    @rule(holder=HOLDERS, other=HOLDERS)
    def ask_by_anothers_name(self, holder: str, other: str) -> None:
        if holder != other and other in self.wanted:
            with pytest.raises(NameTakenError):
                grant(self.claims, holder, [f"n0.{other[0]}"], SLOTS)

    @rule(holder=HOLDERS)
    def go(self, holder: str) -> None:
        self.claims = give_back(self.claims, holder)
        self.wanted.pop(holder, None)

    @invariant()
    def each_has_what_it_asked_for_and_no_slot_is_held_twice(self) -> None:
        assert {h: len(self.claims.of(h)) for h in ("a@1", "b@2", "c@3", "d@4") if self.claims.of(h)} == self.wanted
        assert all(1 <= slot <= SLOTS for slot in self.claims.members)
        assert len(self.claims.members) == sum(self.wanted.values())


test_slots_of_many_clusters = Slots.TestCase
test_slots_of_many_clusters.settings = settings(max_examples=50, stateful_step_count=25, deadline=None)


@given(st.lists(st.tuples(HOLDERS, st.integers(1, 4)), max_size=10))
def test_all_is_given_back(asked: list[tuple[str, int]]) -> None:
    claims = Claims()
    for holder, count in asked:
        try:
            claims = grant(claims, holder, [""] * count, SLOTS)
        except CapacityError:
            continue
    for holder, _ in asked:
        claims = give_back(claims, holder)
    assert claims == Claims()


def test_asking_again_changes_nothing() -> None:
    once = grant(Claims({1: Member("b@2", "")}), "a@1", ["x", "y"], SLOTS)
    assert grant(once, "a@1", ["x", "y"], SLOTS) == once
    assert once.of("a@1") == (2, 3)


@pytest.mark.parametrize(
    ("holder", "names"),
    [("", ["a"]), ("a b", ["a"]), ("a\nb", ["a"]), ("a", []), ("a", ["x"] * 5000), ("a", ["A_B"]), ("a", ["x", "x"])],
)
def test_what_cannot_be_recorded(holder: str, names: list[Any]) -> None:
    with pytest.raises(UsageError):
        grant(Claims(), holder, names, 9999)
