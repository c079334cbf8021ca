"""A run folder as one HTML file that opens anywhere, offline."""

import base64
import contextlib
import hashlib
import os
import tempfile
from functools import cache
from importlib import resources
from importlib.metadata import version
from pathlib import Path

import jinja2
import vl_convert
from markupsafe import Markup

from lockstep.cache import cached
from lockstep.errors import RunError
from lockstep.report.files import read_run
from lockstep.report.page import context

__all__ = ["render"]

# The snippet's module is strict and has only the names that vl-convert gives it.
_SNIPPET = "window.vegaEmbed = vegaEmbed;"


def render(folder: Path) -> Path:
    """Write ``report.html`` into the run folder and return its path; an older report is replaced in one step.

    A run that is still training or was interrupted renders with what there is. Raises ``RunError`` where the folder
    holds no readable manifest or cannot be written to.
    """
    run = read_run(Path(folder))
    page, figures = context(run)
    scripts = [Markup(script) for script in (_charting(), _asset("page.js"))]
    html = _template().render(
        **page,
        figures_json=Markup(figures.to_json()),
        style=Markup(_asset("style.css")),
        scripts=scripts,
        policy=_policy(scripts),
    )
    return _write(Path(folder) / "report.html", html)


@cache
def _charting() -> str:
    """Vega, Vega-Lite and vega-embed as one script (about 900 kB), which takes more than a second to make."""
    snippet = hashlib.sha256(_SNIPPET.encode()).hexdigest()[:12]
    name = f"charts-{version('vl-convert-python')}-{snippet}.js"
    script = cached(name, lambda: vl_convert.javascript_bundle(_SNIPPET).encode()).decode()
    assert "</script" not in script.lower()
    assert "<!--" not in script
    return script


@cache
def _asset(name: str) -> str:
    return (resources.files(__name__) / name).read_text(encoding="utf-8")


@cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string(_asset("template.html.j2"))


def _policy(scripts: list[Markup]) -> str:
    """A content security policy that runs our own scripts alone and forbids the page every request.

    Whatever a column name smuggled past the escaping would still not run.
    """
    hashes = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts]
    allowed = " ".join(f"'sha256-{digest}'" for digest in hashes)
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data:;"
        " base-uri 'none'; form-action 'none'"
    )


def _write(path: Path, text: str) -> Path:
    """The file as a whole or not at all, whenever the machine stops."""
    temporary = None
    try:
        with tempfile.NamedTemporaryFile(
            "w", encoding="utf-8", dir=path.parent, prefix=".report-", delete=False
        ) as file:
            temporary = file.name
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except OSError as error:
        if temporary is not None:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
        reason = error.strerror or str(error)
        raise RunError(
            f"The report must be written to {path}, however: {reason}. Free the space or the folder."
        ) from None
    return path
