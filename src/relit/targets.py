"""``_target_`` nodes: what they name must exist and take the keywords given."""

from __future__ import annotations

import difflib
import importlib
import inspect
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, cast

from relit.errors import ConfigurationError

_VARIADIC = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
_HYDRA_KEYS = frozenset({"_target_", "_partial_", "_recursive_", "_convert_", "_args_"})


def resolve_target(target: str) -> Callable[..., Any]:
    """The object a dotted ``target`` names.

    Raises:
        ConfigurationError: the module or the name in it does not exist, the module fails while it is imported
            (the cause is named), or the object can't be called.
    """
    parts = target.split(".")
    found: Any = None
    for place in range(1, len(parts) + 1):
        path = ".".join(parts[:place])
        if found is not None and hasattr(found, parts[place - 1]):
            found = getattr(found, parts[place - 1])
            continue
        if found is not None and not inspect.ismodule(found):
            raise ConfigurationError(f"{target!r}: {parts[place - 2]} has no {parts[place - 1]!r}.")
        found = _imported(target, path, found)
    if not callable(found) or inspect.ismodule(found):
        raise ConfigurationError(f"{target!r} is not a class or function.")
    return cast("Callable[..., Any]", found)


def _imported(target: str, path: str, parent: Any) -> Any:
    try:
        return importlib.import_module(path)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{path}.".startswith(f"{error.name}."):
            raise ConfigurationError(f"{target!r}: importing {path} failed: {error}.") from error
        name = path.rpartition(".")[2]
        where = (
            f"{parent.__name__} has no {name!r}." if parent is not None else f"there is no module {name!r}."
        )
        raise ConfigurationError(f"{target!r}: {where}{near(name, dir(parent) if parent else ())}") from error
    except Exception as error:
        raise ConfigurationError(
            f"{target!r}: importing {path} failed: {type(error).__name__}: {error}"
        ) from error


def target_problems(config: Mapping[str, Any], planned: Collection[str]) -> Iterator[str]:
    """Every ``_target_`` must exist and take the keywords given; what the runner completes may lack some."""
    for key, node in _nodes(config):
        completed_later = key.endswith(".module") or key.startswith("finish[") or key in ("logger", "data")
        yield from _call_problems(key, node, complete=not (completed_later or node.get("_partial_")))
    data = config.get("data")
    if not isinstance(data, Mapping) or "_target_" not in data:
        return
    for name in planned:
        overrides = ((config.get("stage") or {}).get(name) or {}).get("data")
        merged = {**data, **(overrides if isinstance(overrides, Mapping) else {})}
        problems = list(_call_problems("data", merged, complete=True, only_missing=True))
        if problems:
            yield from problems
            break
    yield from _unsuitable_data(config, data, planned)


def _unsuitable_data(
    config: Mapping[str, Any], data: Mapping[str, Any], planned: Collection[str]
) -> Iterator[str]:
    """What stages ask of the data that it does not take: one message each, whichever stages ask."""
    asked: dict[str, list[str]] = {}
    for name in dict.fromkeys(planned):
        overrides = ((config.get("stage") or {}).get(name) or {}).get("data")
        if isinstance(overrides, Mapping):
            added = {key: value for key, value in overrides.items() if key not in data}
            key = f"stage.{name}.data"
            for problem in _call_problems(key, {"_target_": data["_target_"], **added}, complete=False):
                asked.setdefault(problem.removeprefix(key), []).append(key)
    for problem, keys in asked.items():
        more = f" Other stages ask for it, too: {len(keys) - 1}." if len(keys) > 1 else ""
        # the keys of a stage's own file say which data it can learn from
        hint = "" if "Did you mean" in problem else " Choose a data=NAME that suits the method."
        yield f"{keys[0]}{problem}{more}{hint}"


def _call_problems(
    key: str, node: Mapping[str, Any], *, complete: bool, only_missing: bool = False
) -> Iterator[str]:
    try:
        target = resolve_target(str(node["_target_"]))
        parameters, takes_any = _parameters(target)
    except ConfigurationError as error:
        if not only_missing:
            yield f"{key}._target_: {error}"
        return
    except (TypeError, ValueError):  # builtins without a signature
        return
    given = set(node) - _HYDRA_KEYS
    if not takes_any and not only_missing:
        for name in sorted(given - set(parameters)):
            yield f"{key}.{name}: {node['_target_']} takes no {name!r}.{near(name, parameters)}"
    if complete and not node.get("_args_"):
        missing = [
            name
            for name, parameter in parameters.items()
            if parameter.default is parameter.empty
            and parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
            and name not in given
        ]
        for name in missing:
            yield f"{key}.{name}: {node['_target_']} needs it. Set {key}.{name}=VALUE."


def _parameters(target: Callable[..., Any]) -> tuple[dict[str, inspect.Parameter], bool]:
    """What ``target`` takes by name, and whether it takes any other name, too.

    A class that hands ``**options`` to its base takes what the base takes.
    """
    bases = (
        [base for base in inspect.getmro(target) if "__init__" in vars(base)]
        if inspect.isclass(target)
        else []
    )
    signatures = [inspect.signature(target), *(inspect.signature(base) for base in bases[1:])]
    found: dict[str, inspect.Parameter] = {}
    for signature in signatures:
        own = signature.parameters.values()
        found = {**{one.name: one for one in own if one.kind not in _VARIADIC}, **found}
        if not any(one.kind is one.VAR_KEYWORD for one in own):
            return found, False
    return found, True


def _nodes(node: Any, key: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every mapping with a ``_target_``, outermost first."""
    if isinstance(node, Mapping):
        if "_target_" in node:
            yield key, node
        for name, child in node.items():
            yield from _nodes(child, f"{key}.{name}" if key else str(name))
    elif isinstance(node, list):
        for place, child in enumerate(node):
            yield from _nodes(child, f"{key}[{place}]")


def near(name: str, known: Collection[str]) -> str:
    """A hint at the known names that ``name`` may have meant, with a blank in front; or nothing."""
    close = difflib.get_close_matches(name, [str(k) for k in known if not str(k).startswith("_")], n=3)
    return f" Did you mean {' or '.join(close)}?" if close else ""
