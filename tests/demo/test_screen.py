import io

from rich.console import Console

from demo.screen import Screen


def plain() -> tuple[Screen, io.StringIO]:
    written = io.StringIO()
    return Screen(Console(file=written, highlight=False, soft_wrap=True)), written


def test_without_a_terminal_there_are_plain_lines_however_long():
    screen, written = plain()
    screen.say("a " * 200 + "[b]end", "red")
    assert written.getvalue().rstrip().endswith("[b]end")
    assert written.getvalue().count("\n") == 1
    assert "\x1b" not in written.getvalue()


def test_without_a_terminal_a_bar_is_a_line_at_each_quarter_and_each_new_step():
    screen, written = plain()
    with screen.bar("frames", 100) as bar:
        for done in range(101):
            bar.update(done)
        bar.update(100, "cnn_checkpoint")
    assert written.getvalue().split("\n")[:-1] == [
        "         frames: 25 of 100",
        "         frames: 50 of 100",
        "         frames: 75 of 100",
        "         frames: 100 of 100",
        "         frames: 100 of 100, cnn_checkpoint",
    ]


def test_on_a_terminal_a_bar_shows_what_runs():
    written = io.StringIO()
    screen = Screen(Console(file=written, force_terminal=True, width=120))
    with screen.bar("steps", 4) as bar:
        bar.update(2, "cnn_checkpoint [1]")
    assert "2/4" in written.getvalue()
    assert "cnn_checkpoint [1]" in written.getvalue()
