"""The rules of the house: imports point upward, and no function but a public one has more than eight parameters."""

import ast
import re
from pathlib import Path

import fastml
from fastml import kernels

PACKAGE = Path(fastml.__file__).parent
CONTRIBUTING = Path(__file__).parents[1] / "CONTRIBUTING.md"
MOST_PARAMETERS = 8


def test_imports_of_kernels_point_upward():
    places = re.findall(r"^ {4}(\w+)(?:\.py|/) ", kernels.__doc__, re.MULTILINE)
    assert {path.stem for path in PACKAGE.glob("kernels/[!_]*") if path.suffix != ".pyc"} == set(places)
    for path in PACKAGE.glob("kernels/**/*.py"):
        own = path.relative_to(PACKAGE / "kernels").parts[0].removesuffix(".py")
        for imported in imported_kernels(path) if own in places else ():
            assert places.index(imported) <= places.index(own), f"{own} imports {imported}"


def imported_kernels(path):
    """Yield the names below fastml.kernels that a file imports from."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("fastml.kernels"):
            below = node.module.split(".")[2:3]
            yield from below or [alias.name for alias in node.names]


def test_imports_of_the_package_point_upward_in_the_list_of_its_modules():
    listed = re.findall(r"^ {4}fastml/(\w+)(?:\.py|/) ", CONTRIBUTING.read_text(), re.MULTILINE)
    modules = {path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert sorted(listed) == sorted(modules - {"__init__", "__main__"})
    for path in PACKAGE.glob("**/*.py"):
        own = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        for node in ast.parse(path.read_text()).body if own in listed else ():  # imports inside of functions are late
            if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "fastml":
                names = node.module.split(".")[1:2] or [alias.name for alias in node.names]
                for name in set(names) & set(listed):
                    assert listed.index(name) <= listed.index(own), f"{path.relative_to(PACKAGE)} imports {name}"


def test_no_inner_function_has_many_parameters():
    found = [
        f"{path.relative_to(PACKAGE)}: {node.name}"
        for path in PACKAGE.glob("**/*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef)
        and node.name not in fastml.__all__
        # scikit-learn finds the parameters of an estimator in the signature of its constructor.
        and (path.parent.name, node.name) != ("estimators", "__init__")
        if len(node.args.posonlyargs + node.args.args + node.args.kwonlyargs) > MOST_PARAMETERS
    ]
    assert found == []
