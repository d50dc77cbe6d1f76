"""The promises the repository makes about itself: config tooltips, the READMEs' trees, tables, tours and commands, the rooms."""

import ast
import os
import re
import subprocess
import sys
import tokenize
import tomllib
from pathlib import Path

import pytest

from modules.config import STAGES
from tests import conftest

ROOT = Path(__file__).parent.parent
READMES = {
    name: (ROOT / name).read_text(encoding="utf-8")
    for name in (
        "README.md",
        "assets/starter/README.md",
        "modules/README.md",
        "studio/README.md",
        "studio/datasets/README.md",
        "studio/demo/README.md",
        "ui/README.md",
        "tests/README.md",
        "tests/benchmarks/README.md",
    )
}
README = READMES["README.md"]
STOP = r"^\d\. `([\w/.]+)::(\w+)`"
OLD_WORDS = re.compile(
    r"\b(?i:shall|mend(s|ed|ing)?|anew|at work|in the place of|for want of|beside)\b|(?<![Tt]here )\b(is|are|was|were) none\b"
)
"""Instead of must, fix, again, running, instead of, for lack of, next to, is not one."""
SOURCES = {".py", ".js", ".css", ".html", ".jinja"}


@pytest.mark.parametrize("stage", STAGES)
def test_every_config_field_has_a_sentence_as_its_tooltip(stage):
    for name, field in STAGES[stage].model_fields.items():
        assert field.description, f"{stage}.{name} has no docstring"
        assert field.description.strip().endswith("."), f"{stage}.{name}: {field.description!r} is no sentence"


@pytest.mark.parametrize("stage", STAGES)
def test_a_config_survives_its_json(stage):
    config = STAGES[stage]()
    assert STAGES[stage].model_validate_json(config.model_dump_json()) == config


def test_the_readme_tree_has_a_line_for_each_folder_in_the_words_of_its_package():
    tree = _tree(README.split("```tree\n")[1].split("```")[0].splitlines())
    assert [name for name in tree if not (ROOT / name).exists()] == []
    for room in ("modules", "studio", "ui"):
        for package in (ROOT / room).rglob("__init__.py"):
            words = " ".join((ast.get_docstring(ast.parse(package.read_text(encoding="utf-8"))) or "").split())
            folder = f"{package.parent.relative_to(ROOT)}/"
            assert words.startswith(f"{tree[folder]}."), f"{folder}: the tree and the package say different things"


def _tree(lines: list[str]) -> dict[str, str]:
    """Return each path of the drawn tree with its words; a folder's contents are indented by two more spaces."""
    tree, above = {}, []
    for line in lines:
        depth = (len(line) - len(line.lstrip())) // 2
        name, words = line.split(maxsplit=1)
        above[depth:] = [name]
        tree["".join(above)] = words
    return tree


def test_no_source_lies_outside_a_package():
    folders = {path.parent for room in ("modules", "studio", "ui") for path in (ROOT / room).rglob("*.py")}
    assert [folder for folder in folders if not (folder / "__init__.py").exists()] == []


def test_the_readme_stays_short():
    assert len(README.encode()) <= 12_000
    assert len(re.findall(r"^rlhf-studio ", README, flags=re.M)) <= 8


def test_each_check_that_is_switched_off_for_a_line_says_why():
    found = subprocess.run(
        ["git", "grep", "-nE", r"# (noqa|(type|pyright): ignore)", "--", "*.py", "pyproject.toml"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    ).stdout.splitlines()  # fmt: skip
    switched_off = [line for line in found if "test_repository.py" not in line]
    assert len(switched_off) > 10 or not (ROOT / ".git").exists()
    assert [line for line in switched_off if not re.search(r"# (noqa: |\w+: ignore\[)[^#]*# \w", line)] == []


@pytest.mark.parametrize("name", READMES)
def test_each_make_target_and_subcommand_in_a_readme_exists(name):
    from studio.cli import parser

    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), flags=re.M))
    assert set(re.findall(r"(?:^|`)make ([a-z]+)\b", READMES[name], flags=re.M)) <= targets
    known = next(action for action in parser()._actions if action.dest == "command").choices
    assert set(re.findall(r"rlhf-studio ([a-z]+(?:-[a-z]+)*)\b", READMES[name])) <= set(known)


@pytest.mark.parametrize("name", READMES)
def test_each_link_and_picture_in_a_readme_exists(name):
    links = re.findall(r"\]\(([^)]+)\)", READMES[name])
    relative = [link for link in links if not re.match(r"https?:", link)]
    for link in relative:
        path, _, heading = link.partition("#")
        target = ((ROOT / name).parent / path).resolve() if path else ROOT / name
        assert target.exists(), link
        if heading:
            page = READMES[str((target / "README.md" if target.is_dir() else target).relative_to(ROOT))]
            titles = re.findall(r"^#+ (.+)$", page, flags=re.M)
            assert heading in {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}, link


@pytest.mark.parametrize(("name", "at_least"), [("studio/README.md", 16), ("tests/README.md", 40), ("ui/README.md", 1)])
def test_each_test_that_a_readme_names_exists(name, at_least):
    named = [
        (file, test)
        for file, test in re.findall(r"`([\w/]+\.py)::(\w+)`", READMES[name])
        if Path(file).name.startswith("test_")
    ]
    assert len(named) >= at_least
    for file, test in named:
        assert f"def {test}(" in (ROOT / "tests" / file).read_text(encoding="utf-8"), f"{file} has no {test}"


def test_each_item_of_the_checklist_is_in_its_table():
    named = set(re.findall(r"`[\w/]+\.py::(test_item_\w+)`", READMES["tests/README.md"]))
    there = set()
    for path in (ROOT / "tests").rglob("test_*.py"):
        there |= set(re.findall(r"def (test_item_\w+)", path.read_text(encoding="utf-8")))
    assert named == there


@pytest.mark.parametrize("room", ["modules", "studio", "ui"])
def test_the_tables_of_a_room_name_each_of_its_files_in_at_most_nine_words(room):
    rows = dict(re.findall(r"^\| `([\w./]+)` \| (.+) \|$", READMES[f"{room}/README.md"], flags=re.M))
    files = {
        str(path.relative_to(ROOT / room))
        for path in (ROOT / room).rglob("*")
        if path.suffix in SOURCES and path.name != "__init__.py"
    }
    assert set(rows) == files
    assert {file: words for file, words in rows.items() if len(words.split()) > 9} == {}


def test_the_tables_of_the_tests_name_files_that_exist():
    named = re.findall(r"^\| `([\w/]+\.py)`", READMES["tests/README.md"], flags=re.M)
    assert len(named) > 10
    assert [file for file in named if not (ROOT / "tests" / file).exists()] == []
    support = {f"support/{path.name}" for path in (ROOT / "tests/support").glob("*.py") if path.name != "__init__.py"}
    assert support <= set(named)


def tours() -> list[str]:
    return READMES["studio/README.md"].split("## Three tours\n")[1].split("\n## ")[0].split("\n### ")[1:]


def test_each_stop_of_the_three_tours_exists():
    assert len(tours()) == 3
    for tour in tours():
        stops = re.findall(STOP, tour, flags=re.M)
        assert 0 < len(stops) <= 8
        assert len(stops) == len(re.findall(r"^\d+\. ", tour, flags=re.M))
        for file, name in stops:
            source = (ROOT / file).read_text(encoding="utf-8")
            assert re.search(rf"^\s*(?:async )?(?:def|class|function) {name}\b", source, flags=re.M), f"{file}: {name}"


def test_a_stop_of_a_tour_calls_the_later_ones_in_their_order():
    several = 0
    for tour in tours():
        stops = re.findall(STOP, tour, flags=re.M)
        names = [name for _, name in stops]
        for file, name in stops:
            if not file.endswith(".py"):
                continue
            tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
            functions = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef) and n.name == name]
            calls = [node.func for function in functions for node in ast.walk(function) if isinstance(node, ast.Call)]
            words = [
                (func.lineno, func.attr if isinstance(func, ast.Attribute) else ast.unparse(func)) for func in calls
            ]
            called = [word for _, word in sorted(words) if word in names and word != name]
            assert called == sorted(called, key=names.index), f"{file}: {name}"
            several += len(called) > 1
    assert several


def test_each_file_behind_a_figure_of_the_readme_exists():
    rows = re.findall(r"\| `([\w/]+\.py)` \|$", README.split("## Figures")[1].split("## Security")[0], flags=re.M)
    assert 0 < len(rows) <= 5
    assert [file for file in rows if not (ROOT / file).exists()] == []


def test_each_benchmark_that_a_readme_calls_exists():
    modules = {found for text in READMES.values() for found in re.findall(r"python -m ([\w.]+)", text)}
    for module in modules:
        path = ROOT.joinpath(*module.split("."))
        assert path.with_suffix(".py").exists() or (path / "__main__.py").exists(), module


def prose(path: Path) -> str:
    """Return the strings and comments of a Python source, else all of a file but its code: no names of a program."""
    if path.suffix == ".py":
        with path.open("rb") as file:
            tokens = [
                t.string for t in tokenize.tokenize(file.readline) if t.type in (tokenize.STRING, tokenize.COMMENT)
            ]
        text = "\n".join(tokens)
    else:
        text = re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    if path.suffix == ".js":
        text = "\n".join(re.findall(r"/\*.*?\*/|//[^\n]*|\"[^\"\n]*\"|'[^'\n]*'", text, flags=re.DOTALL))
    return re.sub(r"`[^`\n]*`", "", text)


def test_no_word_of_the_list_of_old_ones_is_in_a_text():
    files = [ROOT / name for name in READMES]
    files += [p for room in ("modules", "studio", "ui") for p in (ROOT / room).rglob("*") if p.suffix in SOURCES]
    schemas = ROOT / "studio/database/schema"  # the text of a migration stays as it is
    found = {
        str(p.relative_to(ROOT)): m.group() for p in files if p.parent != schemas and (m := OLD_WORDS.search(prose(p)))
    }
    assert len(files) > 300
    assert found == {}
    assert OLD_WORDS.search("what it Shall be")
    assert OLD_WORDS.search("a folder that is none")
    assert not OLD_WORDS.search("Empty where there is none.")


def test_source_files_stay_small():
    sizes = {
        path: len(path.read_text(encoding="utf-8").splitlines())
        for room in ("modules", "studio", "ui", "assets/build_starter")
        for path in (ROOT / room).rglob("*.py")
    }
    assert {str(path.relative_to(ROOT)): size for path, size in sizes.items() if size > 400} == {}


def test_the_torch_free_modules_load_no_torch():
    code = (
        "import sys, modules.config, modules.errors, modules.metrics, studio.runs.runs, studio.runs.launcher, studio.cli, studio.datasets.importing;"
        "heavy = [m for m in ('torch', 'transformers', 'lightning', 'peft', 'datasets') if m in sys.modules];"
        "sys.exit(', '.join(heavy) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_contract_about_torch_names_each_part_of_studio_but_the_worker():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]
    contract = next(each for each in settings["contracts"] if each["name"] == "only the worker loads torch")
    parts = {path.stem for path in (ROOT / "studio").glob("*.py")} | {
        path.parent.name for path in (ROOT / "studio").glob("*/__init__.py")
    }
    wanted = {f"studio.{part}" for part in parts - {"__init__", "worker"}}
    assert sorted(contract["source_modules"]) == sorted({"ui", *wanted})


def test_no_pickled_weights_are_in_the_repository():
    suspicious = [p for p in (ROOT / "assets").rglob("*") if p.suffix in (".bin", ".pt", ".pth", ".ckpt", ".pkl")]
    assert suspicious == []


def test_nothing_unexpected_lies_at_the_top():
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False).stdout
    if not listed:
        pytest.skip("not a git checkout")
    top = {name.split("/")[0] for name in listed.splitlines()}
    known = {"studio", "modules", "ui", "tests", "assets", "pyproject.toml", "README.md", "Makefile", "LICENSE"}
    assert {name for name in top if not name.startswith(".")} == known | {"constraints.txt"}


def test_the_longest_files_are_files():
    assert [file for file in conftest.LONGEST if not (ROOT / file).is_file()] == []


def test_ids_of_tests_depend_neither_on_the_clock_nor_on_the_order_of_sets(request):
    items = {item.nodeid for item in request.session.items}
    files = sorted({nodeid.split("::")[0] for nodeid in items})
    command = [
        "-m",
        "pytest",
        "--collect-only",
        "-q",
        "-n",
        "0",
        "-p",
        "tests.support.another_hour",
        "-o",
        "addopts=",
        *files,
    ]
    seed = "1" if os.environ.get("PYTHONHASHSEED") != "1" else "2"
    done = subprocess.run(
        [sys.executable, *command],
        cwd=ROOT,
        env=os.environ | {"PYTHONHASHSEED": seed, "PYTEST_ADDOPTS": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    later = {line for line in done.stdout.splitlines() if "::" in line}
    assert items - later == set(), "these ids are others at another time or in another process: name them with ids="


def test_no_function_has_a_twin_that_takes_the_open_database():
    twins = []
    for path in (ROOT / "studio").rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        names = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
        twins += [f"{path.name}: {name}" for name in names if {f"{name}_in", f"read_{name}"} & names]
    assert twins == []


def test_no_function_takes_the_workspace_only_to_open_its_database():
    """It takes `db`, and its caller opens `ws.read()` or `ws.write()` once for all that belongs together.

    Left out: functions that are handed on and so have no caller to open it (events of a page, threads), and those that open
    it again and again.
    """
    found = []
    for path in [*(ROOT / "studio").rglob("*.py"), *(ROOT / "ui").rglob("*.py")]:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        parent = {child: node for node in ast.walk(tree) for child in ast.iter_child_nodes(node)}
        names = [node for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)]
        called = {node.func for node in ast.walk(tree) if isinstance(node, ast.Call)}
        handed_on = {node.id for node in names if node not in called}
        for function in ast.walk(tree):
            if not isinstance(function, ast.FunctionDef) or function.name in handed_on:
                continue
            if "ws" not in [each.arg for each in ast.walk(function.args) if isinstance(each, ast.arg)]:
                continue
            inside = {node for line in function.body for node in ast.walk(line)}
            again = {node for loop in inside if isinstance(loop, ast.For | ast.While) for node in ast.walk(loop)}
            used = [node for node in names if node.id == "ws" and node in inside]
            opens = [isinstance(parent[n], ast.Attribute) and parent[n].attr in ("read", "write") for n in used]
            if all(opens) and not again & set(used):
                found.append(f"{path.relative_to(ROOT)}: {function.name}")
    assert found == []
