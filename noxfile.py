"""The parts of the gate: `nox` runs them all, `nox -s tests-3.11` one. `.ci/run` runs the same commands in one venv."""

import nox

nox.options.default_venv_backend = "venv"
nox.options.reuse_existing_virtualenvs = True

nox.options.error_on_missing_interpreters = False

PYTHONS = ["3.11", "3.12", "3.13", "3.14"]
"""Those that aren't on the machine are skipped."""


def install(session: nox.Session) -> None:
    """Install the package with all extras and the tools of the gate."""
    session.install("--upgrade", "pip")
    session.install("--editable", ".[all]", "--group", "dev")


@nox.session
def static(session: nox.Session) -> None:
    """Check the style, the types, the security and the imports of the code."""
    install(session)
    session.run(".ci/static", external=True)


@nox.session
def distributions(session: nox.Session) -> None:
    """Build the wheel and the sdist, and try both without extras."""
    install(session)
    session.run("python", "-m", "scripts.distributions")


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """Run the tests, or some: `nox -s tests-3.11 -- tests/polling`."""
    install(session)
    session.run("python", "-m", "pytest", "-n", "3", *session.posargs)


@nox.session(default=False)
def coverage(session: nox.Session) -> None:
    """Measure the branches that all tests cover, and publish the figures: docs/project/test-coverage.md."""
    install(session)
    session.install("--group", "confidence")
    session.run("python", "-m", "tests.confidence.coverage", *session.posargs)


@nox.session(default=False)
def mutation(session: nox.Session) -> None:
    """Change the code that spends money in one place at a time: does a test notice? About half an hour."""
    install(session)
    session.install("--group", "confidence")
    session.run("python", "-m", "tests.confidence.mutation", *session.posargs)


@nox.session
def docs(session: nox.Session) -> None:
    """Build the site in docs/_build/html. Warnings are errors: unknown names, broken links, missing pages."""
    session.install("--upgrade", "pip")
    session.install("--editable", ".[all]", "--group", "docs")
    session.run("sphinx-build", "-q", "-n", "-W", "--keep-going", "docs", "docs/_build/html", *session.posargs)


@nox.session
def linkcheck(session: nox.Session) -> None:
    """Ask the web whether the site's external links still work."""
    session.install("--upgrade", "pip")
    session.install("--editable", ".[all]", "--group", "docs")
    session.run("sphinx-build", "-q", "-b", "linkcheck", "docs", "docs/_build/linkcheck")


@nox.session(default=False)
@nox.parametrize("scheduler", ["apache-airflow>=3.3", "prefect>=3.9", "dagster>=1.13"])
def schedulers(session: nox.Session, scheduler: str) -> None:
    """Run the example task of a scheduler, in an environment of its own, since they exclude each other."""
    session.install("--upgrade", "pip")
    session.install("--editable", ".[sandbox]", scheduler, "blockbuster", "hypothesis", "pytest")
    session.run("python", "-m", "pytest", "tests/examples/test_schedulers.py", *session.posargs)
