"""Formatting answers: nothing is left out, nothing runs, nothing leaves, and it ends in time. No server here."""

import random
import subprocess
import sys
import threading
import time

import pytest

from tests.ui import filling
from ui.rendering import MOST, check, draw, words
from ui.rendering.check import compare, kept, read
from ui.rendering.errors import RenderingError
from ui.rendering.formulas import to_mathml
from ui.rendering.tables import split_row

PIECES = (
    *("word", "snake_case", "__init__", "__bold__", "**", "*", "_", "__", "~~", "`", "``", "```", "\\", "\\\\", "\\*", "\\|"),
    *("\n```\n", "\n~~~py title\n", "\n|---|---|\n", "\n| a | b |\n|---|---|\n| c | `d|e` | f |\n", "|", "\n- ", "\n+ "),
    *("\n1. ", "\n007) ", "\n   ", "\n    ", "\t", "\n\n", "\n> ", "\n# ", "\n---\n", "\n===\n", "\r\n", "\0", "\u2028"),
    *("$", "$$", "\\(", "\\)", "\\[", "\\]", "$x^2$", "\\frac{1}{2}", "\\begin{matrix}a&b\\end{matrix}", "\\text{hi}"),
    *("[a](b)", "![c](d \"e\")", "[", "](", ")", "![", "<b>", "<script>", "&amp;", "&#x41;", "<http://x>", "<!--", "<![CDATA["),
    *("http://x.y/?a=1&b=2", "\n[foo]: /bar 'baz'\n", "é", "漢字", "\u200b", "\u202e", "\U0001f469", "5", "$5", "{", "}", "^"),
    *("%", "&", "'", '"', "?", ";", "x" * 30),
)  # fmt: skip
TICKS = "`" * 3


def shown(text: str) -> str:
    """What stands on the screen, without blanks."""
    drawn = draw(text)
    return check.squeeze(read(drawn.html) if drawn.html else text)


def test_nothing_of_two_thousand_random_texts_is_left_out_or_added():
    dice = random.Random(11)
    raw = 0
    for _ in range(2000):
        text = "".join(dice.choice(PIECES) for _ in range(dice.randint(1, 40)))
        drawn = draw(text)
        if not drawn.html:
            raw += bool(text.strip())
            continue
        compare(text, read(drawn.html))
        compare(text, markup_free(drawn.html))
    assert raw < 20, "a text is shown raw only where it must be"


def markup_free(html: str) -> str:
    """The text of markup by Python's own parser, a formula by its TeX: the check is not only checked by itself."""
    from html.parser import HTMLParser

    found: list[str] = []
    depth = 0

    class Reader(HTMLParser):
        def handle_starttag(self, tag, attrs):
            nonlocal depth
            if tag == "math":
                found.append(dict(attrs)["alttext"] or "")
            depth += tag == "math"

        def handle_endtag(self, tag):
            nonlocal depth
            depth -= tag == "math"

        def handle_data(self, data):
            if not depth:
                found.append(data)

    reader = Reader()
    reader.feed(html)
    reader.close()
    return "".join(found)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("```ls -la``` lists it.", "<code>ls -la</code> lists it.", id="code-span-of-three-ticks"),
        pytest.param("```\nls\n```no end\n```", "ls\n```no end</code>", id="fence-closed-only-by-a-closing-fence"),
        pytest.param("~~~ a `b` c\nls\n~~~", '<div class="language">a `b` c</div>', id="words-on-the-line-of-a-fence"),
        pytest.param("```py\nls", "<code>ls</code>", id="fence-never-closed"),
        pytest.param(
            "Use a[0], see [it](http://x).", 'a[0], see <span class="link">it</span>', id="brackets-before-a-link"
        ),
        pytest.param("[a](http://x)", "(http://x)", id="address-of-a-link"),
        pytest.param('![a](http://x "T")', '(http://x "T")', id="address-and-title-of-an-image"),
        pytest.param("***strong*** end", "<em><strong>strong</strong></em> end", id="three-stars"),
        pytest.param("f()\n    return __name__", "f()\n    return __name__", id="dunder-name-and-indentation"),
        pytest.param("a_b_c and __init__.py", "a_b_c and __init__.py", id="underscores-in-a-name"),
        pytest.param("    a\n    b", "<pre", id="indented-code"),
        pytest.param("[foo]: /url 'title'", "[foo]: /url 'title'", id="definition-of-a-link"),
        pytest.param(
            "vector<std::string> &amp;", "vector&lt;std::string&gt; &amp;amp;", id="angle-brackets-and-entities"
        ),
        pytest.param("2. a\n5. b", '<span class="number">5.</span>', id="numbers-of-a-list-as-written"),
        pytest.param("one\ntwo", "one\ntwo", id="line-breaks"),
    ],
)
def test_marks_of_markdown_take_no_word_with_them(text, expected):
    assert expected in draw(text).html


def test_fences_within_a_fence_end_it_only_where_commonmark_says():
    text = f"{TICKS}markdown\nExample:\n{TICKS}python\nprint(1)\n{TICKS}\nend\n{TICKS}\nafter"
    assert f"Example:\n{TICKS}python\nprint(1)</code>" in draw(text).html
    assert "<code>after</code>" in draw(text).html


@pytest.mark.parametrize(
    "text",
    [
        "Join $HOME/$USER and $PATH:$HOME.",
        "Sums of $5-$10, $5/$6, US$7 and $8.",
        "It costs $5 and 10$.",
        "echo $$ and $$",
        "awk '{print $1,$3}' and ${A}:${B} or $(ls)/$(pwd)",
        "if [ $a -eq $b ]; then $c; fi",
        "\\$5 and \\$6",
        "$ x $ and $",
        "a$b$c",
        "CREATE FUNCTION f() AS $$ BEGIN RETURN 1; END $$",
        "Pay $5 million–$10 million, or **$5**–**$6**",
        "`$x` and `$y`",
    ],
)
def test_dollar_signs_of_money_and_of_shells_are_no_math(text):
    drawn = draw(text)
    assert drawn.html
    assert "<math" not in drawn.html
    assert 'class="tex"' not in drawn.html
    assert read(drawn.html).count("$") == text.count("$")


@pytest.mark.parametrize(
    "text",
    ["$x$", "costs $5, and $x^2$.", "$$x$$", "\\(x\\)", "\\[x\\]", "$$\nx\n= y\n- z\n$$", "- $x$\n- b", "| $|x|$ |\n|---|", "> \\[\n> x\n> \\]", "设$x$是", "**$x$**"],
)  # fmt: skip
def test_formulas_are_drawn_in_all_their_marks(text):
    assert draw(text).html.count("<math") == 1


@pytest.mark.parametrize(
    "tex",
    [
        "\\unknown{x}", "\\ce{H2O}", "\\frac{1", "x_1_2", "\\left( x", "\\begin{foo}a&b\\end{foo}",
        "\\phantom{hidden}", "\\color{white}{hidden}", "\\textcolor{white}{hidden}", "x % hidden",
        "\\mathchoice{a}{b}{c}{d}", "\\href{javascript:alert(1)}{x}", "\\class{x}{y}", "\\style{color:red}{y}",
        "\\def\\x{y}\\x", "\\newcommand{\\x}{yy}\\x\\x", "\\cancel{x}", "\\unicode{x3c}", "\\text{&#xD800;}",
        "{" * 900 + "}" * 900, "x" * 3000, "\\hspace{300cm}x", "\\colorbox{red}{x}", "\\fcolorbox{red}{red}{x}",
    ],
)  # fmt: skip
def test_a_formula_that_cannot_be_drawn_or_would_hide_a_part_is_its_source(tex):
    with pytest.raises((RenderingError, RecursionError)):
        to_mathml(tex, False)
    text = f"\\({tex}\\)"
    assert "<math" not in draw(text).html
    assert check.squeeze(tex.strip("\\")) in shown(text)


@pytest.mark.parametrize(
    ("tex", "expected"),
    [
        ("\\text{<script>alert(1)</script>}", "&lt;script&gt;"),
        ("\\text{&lt;script&gt;}", "&amp;lt;script&amp;gt;"),
        ("\\boxed{42}", '<menclose notation="box">'),
        ("\\lim_{x \\to 0}", "<munder><mo>lim</mo>"),
        ("\\begin{aligned}a&=b\\\\[4pt]c&=d\\end{aligned}", "<mtr>"),
        ("\\begin{align}a&=b\\end{align}", "<mtd"),
        ("\\mathbb{RP}", "<mi>ℝ</mi><mi>ℙ</mi>"),
        ("\\operatorname*{arg\\,min}_x", "<munder><mo>arg"),
        ("\\bigl\\{ a \\bigr\\}", ">{</mo>"),
    ],
)
def test_what_answers_write_in_tex_is_drawn_and_escaped(tex, expected):
    drawn = to_mathml(tex, True)
    assert expected in drawn
    assert "(1)" not in drawn or "alert" in drawn, "no equation number that nobody wrote"


def test_pipes_in_code_in_math_and_after_a_backslash_are_text_and_no_cell_is_dropped():
    assert split_row("| a \\| b | `x|y` | $|z|$ | `` `|` `` |") == ["a | b", "`x|y`", "$|z|$", "`` `|` ``"]
    assert split_row("a|`b|c") == ["a", "`b", "c"], "a tick alone is text"
    html = draw("| op | means |\n|---|:-:|\n| a \\| b | or |\n| `x|y` | also | more |\n| one |\n").html
    assert html.count("<tr>") == 4
    assert "a | b</td>" in html
    assert "<code>x|y</code></td>" in html
    assert "more</td>" in html
    assert '<td dir="auto" class="is-center">or</td>' in html


def test_long_headings_wide_tables_and_long_lines_are_drawn_whole():
    heading = "# " + "word " * 1500 + "end"
    table = (
        "|".join(f"head{n}" for n in range(45))
        + "\n"
        + "|".join("-" * 45)
        + "\n"
        + "|".join(f"cell{n}" for n in range(45))
    )
    after = "$$a$$" + "y" * 6000 + "z"
    for text in (heading, table, after):
        assert draw(text).html
        compare(text, read(draw(text).html))
    assert draw(table).html.count("<td") == 45
    assert "end</p>" in draw(heading).html


def test_a_text_nested_deeper_than_the_parser_reads_is_shown_as_it_is():
    for text in ("> " * 40 + "deep", "\n".join("  " * n + f"- level {n}" for n in range(40)), "- " * 40 + "x"):
        assert draw(text).why.startswith("Shown as it is"), text
        assert not draw(text).html


def test_a_very_long_text_is_shown_as_it_is():
    assert draw("a" * MOST).html
    assert draw("a" * (MOST + 1)).why == "Shown as it is: it has more than 20,000 characters."
    assert draw("\\[\n" * 60_000).html == ""


SLOW = {
    "stars": "*a ", "strong": "**a", "mixed": "*_", "brackets": "[", "links": "[a](", "images": "![[", "formulas": "\\[\n",
    "dollars": "$$\n", "dollar": "$a", "round": "\\(", "items": "- a\n", "lines": "a\n", "pipes": "|-", "fences": "```\n",
    "ticks": "`a``b", "quotes": "> ", "tildes": "~~a", "emphases": "*a **b ", "escapes": "\\", "ampersands": "&<", "hashes": "# ",
    "definitions": "[a]: b\n", "dunders": "__a", "rows": "|a|b|c|d\n|-|-|-|-\n", "real": "\\[a\\]\n", "groups": "$x^{", "left": "\\left(",
}  # fmt: skip


@pytest.mark.parametrize("name", SLOW)
def test_hostile_texts_are_drawn_or_given_up_in_bounded_time(name):
    text = (SLOW[name] * MOST)[:MOST]
    began = time.thread_time()
    drawn = draw(text)
    assert time.thread_time() - began < 2.0
    if drawn.html:
        compare(text, read(drawn.html))
        assert len(drawn.html) < 60 * MOST


def test_markup_that_is_not_on_the_list_is_refused():
    for html in (
        "<script>1</script>", "<img src=x>", '<p onclick="x">a</p>', '<p style="x">a</p>', '<a href="x">a</a>', "<svg></svg>",
        "<p>a", "a</p>", "<p>a</div>", "<!-- a -->", "a < b", "<P>a</P>", "<p dir=auto>a</p>", '<p dir="auto"">a</p>',
        '<math href="x"></math>', '<mi class="a" xlink:href="b">x</mi>', '<p class="a&quot; onload=&quot;b">x</p>', "<mi/>",
    ):  # fmt: skip
        with pytest.raises(RenderingError):
            read(html)


def test_markup_that_shows_less_more_or_another_order_than_its_text_is_refused():
    for text, seen in (("one two", "one"), ("one", "one two"), ("one two", "two one"), ("100%", "100"), ("a;b", "a b")):
        with pytest.raises(RenderingError):
            compare(text, seen)
    compare("**one** [two](three)", "one two (three)")


def test_a_parser_that_drops_words_or_fails_does_not_get_its_markup_to_the_page(monkeypatch):
    from ui.rendering import markdown

    for n, broken in enumerate(("<p>one</p>", "<p>one two</p><script>x</script>", None)):

        def fake(text: str, broken: str | None = broken) -> str:
            if broken is None:
                raise RecursionError
            return broken

        monkeypatch.setattr(markdown, "render", fake)
        drawn = draw(f"one two{' ' * n}")
        assert (drawn.html, drawn.why) == ("", "Shown as it is: when formatted, part of it would not be shown.")
    draw.cache_clear()


def test_texts_on_other_pages_are_formatted_alike_with_their_characters_a_click_away():
    assert words("**a** <b>") == (
        '<div class="formatted"><p dir="auto"><strong>a</strong> &lt;b&gt;</p></div>'
        '<details class="raw"><summary>raw text</summary><div class="words" dir="auto">**a** &lt;b&gt;</div></details>'
    )
    assert "details" not in words("Plain words,\nin two lines.")
    assert "raw text" in words("$x$"), "the TeX of a formula"
    assert words("<b>" * MOST).count("&lt;b&gt;") == MOST
    assert "more than 20,000 characters" in words("<b>" * MOST)


def test_several_threads_format_at_once():
    texts = [f"{n} **a** $x_{{{n}}}$\n\n| a | b |\n|---|---|\n| {n} | `c|d` |" for n in range(200)]
    found: list[list[str]] = []
    threads = [
        threading.Thread(target=lambda: found.append([draw.__wrapped__(text).html for text in texts])) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    assert all(each == found[0] and all(each) for each in found)


def test_the_parsers_are_loaded_with_the_first_text_and_not_when_the_page_starts():
    code = "import sys, ui.rendering; print({'markdown_it', 'latex2mathml', 'torch'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"


def test_kept_leaves_out_only_blanks_and_marks():
    assert kept("A b\u00a0c\n*d* (e) 5% é?") == "Abcde5%é?"


HOSTILE = (
    filling.HOSTILE,
    "[a](javascript:hack()) [b](data:text/html,<script>hack()</script>) [c](vbscript:hack()) <javascript:hack()>",
    "![a](http://evil.example/a.png) ![b](//evil.example/b.svg) [c]: http://evil.example/c\n\n[c] ![c]",
    "<svg onload=hack()><image href=http://evil.example/d.png></svg><math href=javascript:hack()>x</math>",
    "<iframe src=http://evil.example></iframe><object data=http://evil.example></object><link rel=stylesheet href=//evil.example>",
    "<style>@import url(http://evil.example/e.css)</style><meta http-equiv=refresh content='0;url=http://evil.example'>",
    '```" onmouseover="hack()\ncode\n```\n~~~ <img src=x onerror=hack()>\ncode\n~~~',
    '[a](<"onclick="hack()> "t\\"onclick=\\"hack()")  ![a"onerror="hack()](x "y\\"onerror=\\"hack()")',
    "$\\href{javascript:hack()}{x}$ $\\text{<img src=x onerror=hack()>}$ $\\style{background:url(http://evil.example)}{x}$",
    "$\\text{&lt;img src=x onerror=hack()&gt;}$ $\\unicode{x3c}img src=x onerror=hack()\\unicode{x3e}$ $\\class{a\"onload=\"hack()}{x}$",
    "$\\color{red\"onclick=\"hack()}{x}$ $\\colorbox{url(http://evil.example)}{x}$ $\\rule{1em\"}{1em}$ $\\includegraphics{http://evil.example/f}$",
    "\\[ \\begin{array}{c\"onclick=\"hack()} <script>hack()</script> \\end{array} \\] $$</math><script>hack()</script>$$",
    "| <img src=x onerror=hack()> |\n|:-:|\n| `</td><script>hack()</script>` |",
    "<math><mi//xlink:href=\"data:x,<script>hack()</script>\"><table><mglyph><style><img src=x onerror=hack()></style>",
    "<noscript><p title=\"</noscript><img src=x onerror=hack()>\"></noscript> </textarea></title><script>hack()</script>",
    "<a href=x ping=http://evil.example>a</a><form action=http://evil.example><button formaction=javascript:hack()>b</button></form>",
)  # fmt: skip


@pytest.mark.browser
def test_no_script_runs_and_no_request_leaves_whatever_a_text_holds(chromium):
    context = chromium.new_context()
    page = context.new_page()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.set_content("<script>window.hacked = 0; function hack() { window.hacked += 1; }</script><main></main>")
    dice = random.Random(7)
    joined = ["".join(dice.choice((*PIECES, *HOSTILE)) for _ in range(12)) for _ in range(150)]
    place = """(html) => {
        const body = document.querySelector("main");
        body.innerHTML = html;
        for (const node of body.querySelectorAll("*")) for (const name of ["click", "mouseover", "focus", "load", "error"]) node.dispatchEvent(new Event(name));
        const names = [...new Set([...body.querySelectorAll("*")].map((node) => node.localName))];
        for (const formula of body.querySelectorAll("math")) formula.replaceWith(formula.getAttribute("alttext"));
        return [body.textContent, names];
    }"""
    for text in (*HOSTILE, *PIECES, *joined):
        drawn = draw(text)
        if drawn.html:
            seen, names = page.evaluate(place, drawn.html)
            assert seen == read(drawn.html), "the browser reads it as the check does"
            assert set(names) <= check.ELEMENTS
    page.wait_for_timeout(200)  # for what would be fetched or run a moment later
    assert page.evaluate("window.hacked") == 0
    assert asked == []
    context.close()
