"""What a channel passes on to the one that takes its place."""

from fastn.engine.channel import Channel, state_at_start
from fastn.engine.languages import Language
from fastn.engine.models import Limits, Program
from tests.unit.engine.driving import STARTED_AT_MS, run_input

PROGRAM = Program("", Language.JAVASCRIPT, "", "0" * 64)


def test_a_channel_taken_up_draws_on_where_the_first_left_off() -> None:
    whole, first = (Channel(PROGRAM, state_at_start(run_input()), Limits()) for _ in range(2))
    expected = [whole.draw_random(8) for _ in range(2)]
    begun = first.draw_random(8)

    taken_up = Channel(PROGRAM, first.state(), Limits())

    assert [begun, taken_up.draw_random(8)] == expected
    assert len(set(expected)) == 2


def test_the_clock_of_a_channel_taken_up_does_not_go_back() -> None:
    first = Channel(PROGRAM, state_at_start(run_input()), Limits())
    first.set_now(STARTED_AT_MS + 5)

    taken_up = Channel(PROGRAM, first.state(), Limits())
    taken_up.set_now(STARTED_AT_MS + 1)

    assert taken_up.now_ms() == STARTED_AT_MS + 5
