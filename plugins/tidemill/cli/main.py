"""The ``tidemill`` command. Each command imports what it needs when it runs, so that ``--help`` is quick."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from tidemill.cli.drift import EXAMPLE as DRIFT_EXAMPLE
from tidemill.cli.drift import drift
from tidemill.cli.locate import UsageProblem, folder_here, project_here
from tidemill.errors import TidemillError

app = typer.Typer(
    name="tidemill",
    help="Machine-learning pipelines from YAML specs, run by Airflow.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)

Json = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
SpecFile = Annotated[Path, typer.Argument(help="A spec file, e.g. dags/flight_delays.yaml.")]
Note = Annotated[str, typer.Option(help="Why; kept in the log.")]
Environment = Annotated[str | None, typer.Option("--environment", help="The environment whose overlays are used.")]
Row = Annotated[str | None, typer.Option("--row", help="Of a file with a matrix: this row.")]
State = Annotated[Path | None, typer.Option("--state", help="Another state folder than the project's .tidemill.")]


def main() -> None:
    """Run the command line; a user's mistake ends it with a message and exit code 1, never with a stack trace."""
    from tidemill.spec.errors import SpecErrors

    try:
        app()
    except SpecErrors as e:
        _fail(e.render())
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        sys.stderr.close()  # the reader of our output has gone, as with `| head`
        sys.exit(141)
    except TidemillError as e:
        _fail(f"tidemill: {e}")


def _fail(message: str, code: int = 1) -> NoReturn:
    print(message, file=sys.stderr)
    sys.exit(code)


def _print_json(value: Any) -> None:
    print(json.dumps(value, indent=2, ensure_ascii=False, sort_keys=True))


@app.command(epilog="Example: tidemill validate dags/")
def validate(
    paths: Annotated[list[Path], typer.Argument(help="Spec files, or folders of them.")],
    environment: Environment = None,
    against: Annotated[
        Path | None, typer.Option(help="A folder that tidemill infra wrote: say where specs and it disagree, too.")
    ] = None,
    outputs: Annotated[
        Path | None, typer.Option(help="With --against: what `terraform output -json` told, of what stands.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Check specs: every mistake with its place. Imports no user code."""
    from tidemill.cli import validate as command
    from tidemill.cli.infra import disagreements_as_json, disagreements_of
    from tidemill.spec.errors import SpecErrors

    _choose(environment)
    if outputs is not None and against is None:
        raise UsageProblem("--outputs goes with --against")
    results = list(command.verdicts(paths))
    command.check_environment(environment, results)
    errors = command.unique_errors(results)
    found = disagreements_of(results, against, outputs) if against is not None and not errors else []
    if as_json:
        _print_json(command.as_json(results) | (disagreements_as_json(against, found) if against is not None else {}))
    elif errors:
        print(SpecErrors(errors).render())
    else:
        count = sum(len(verdict.plans) for _, verdict in results)
        print(f"{count} pipeline{'' if count == 1 else 's'} checked, no mistakes")
        print("".join(f"{one}\n" for one in found), end="")
    if found:
        _fail(f"tidemill: the specs and {against} disagree {len(found)} times")
    if errors:
        raise SystemExit(1)


@app.command(epilog="Example: tidemill show dags/flight_delays.yaml")
def show(
    file: SpecFile,
    resolved: Annotated[
        bool, typer.Option("--resolved", help="Print the YAML after inheritance, with each value's origin.")
    ] = False,
    row: Row = None,
    environment: Environment = None,
    as_json: Json = False,
) -> None:
    """Draw the pipeline that a spec makes; --json prints the plan."""
    from tidemill.cli import validate as command

    _choose(environment)
    if environment is not None:
        command.check_environment(environment, command.verdicts([file]))
    if resolved:
        from tidemill.cli.resolved import as_json as values_of
        from tidemill.cli.resolved import as_yaml, resolve

        found = resolve(file, row)
        if as_json:
            _print_json(values_of(found))
        else:
            print(as_yaml(found), end="")
        return
    from tidemill.cli.show import draw

    plans, _, _ = command.plans_of(file, row)
    if not as_json:
        print("\n\n".join(map(draw, plans)))
    elif "." in plans[0].pipeline and row is None:
        _print_json([plan.to_json() for plan in plans])
    else:
        _print_json(plans[0].to_json())


def _choose(environment: str | None) -> None:
    """Choose an environment for this process and those it starts."""
    if environment is not None:
        os.environ["TIDEMILL_ENVIRONMENT"] = environment


@app.command(epilog="Example: tidemill schema > include/schemas/tidemill-1.json")
def schema(
    defaults: Annotated[bool, typer.Option("--defaults", help="Print that of defaults.yaml files.")] = False,
    template: Annotated[bool, typer.Option("--template", help="Print that of templates.")] = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print the language reference instead.")] = False,
) -> None:
    """Print the JSON Schema of the language, for editors: of a pipeline's file, of defaults or of a template."""
    if defaults + template + markdown > 1:
        raise UsageProblem("--defaults, --template and --markdown exclude each other")
    if markdown:
        from tidemill.spec.reference import reference

        print(reference(), end="")
        return
    from tidemill.spec.schema import schema as make

    _print_json(make("defaults" if defaults else "template" if template else "pipeline"))


@app.command(epilog="Example: tidemill new churn")
def new(
    name: Annotated[str, typer.Argument(help="The pipeline's id: letters, digits, _ and -.")],
    provider: Annotated[str, typer.Option(help="Where it trains: local, aws, gcp, azure or kubernetes.")] = "local",
    steps: Annotated[bool, typer.Option("--steps", help="A workflow of steps alone, without a model.")] = False,
) -> None:
    """Write a working pipeline to start from: spec, training code, sample data, expectations and tests."""
    from tidemill.cli.new import write

    written = write(name, provider, folder_here(), steps=steps)
    for path in written:
        print(f"wrote {path}")
    test = next(path for path in written if path.parent.name == "tests")
    if provider != "local":
        print(
            f"\nname your own account, bucket and image in dags/{name}.yaml: see docs/platforms/{provider}.md", end=""
        )
    print(f"\ntry it:   tidemill run dags/{name}.yaml\ntest it:  pytest {test}")


@app.command(epilog="Example: tidemill convert dags/etl.yml --to dags/specs")
def convert(
    files: Annotated[list[Path], typer.Argument(help="YAML files of dag-factory, 0.x or 1.x.")],
    to: Annotated[Path | None, typer.Option("--to", help="Where the specs go; next to each file if absent.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Write over files that are there.")] = False,
    as_json: Json = False,
) -> None:
    """Turn dag-factory's files into specs, one a DAG; runs and imports nothing that they name.

    What cannot be carried over is listed with its line, and the exit code is 1; the specs are written all the same.
    """
    from tidemill.cli.convert import as_json as values_of
    from tidemill.cli.convert import convert_files, report

    outcome = convert_files(files, to, force=force)
    if as_json:
        _print_json(values_of(outcome))
    else:
        print("\n".join(report(outcome)))
    if not outcome.whole:
        raise SystemExit(1)


@app.command(epilog="Example: tidemill infra dags/ --output infra/")
def infra(
    paths: Annotated[list[Path], typer.Argument(help="Spec files, or folders of them; of one provider.")],
    output: Annotated[Path, typer.Option("--output", help="The folder that Terraform's root is written into.")],
    prefix: Annotated[
        str | None,
        typer.Option(help="What names begin with that no spec says; tidemill, with the environment, if absent."),
    ] = None,
    place: Annotated[
        int | None, typer.Option(help="Write what trainings need at this one of platform.fallback's places, from 1.")
    ] = None,
    check: Annotated[bool, typer.Option("--check", help="Write nothing: show what would change, exit with 1.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace files that were changed by hand.")] = False,
    environment: Environment = None,
    as_json: Json = False,
) -> None:
    """Write Terraform for exactly what specs use: `aws` and `kubernetes`.

    One spec or a folder of them becomes one root with modules that pipelines share. It can be written again at any
    time: files of your own beside it are left alone, and what was changed by hand is not replaced. Neither Terraform
    nor an account is needed.
    """
    from tidemill.cli import infra as command

    if check and force:
        raise UsageProblem("--check and --force exclude each other")
    _choose(environment)
    command.check_name(environment, paths)
    needs, changes = command.infra(paths, output, prefix, place=place, force=force, check=check)
    if as_json:
        _print_json(command.as_json(needs, output, changes))
    elif check:
        print(changes.diff, end="")
    else:
        print("\n".join(command.report(needs, output, changes)))
    if check and not changes.none:
        _fail(f"tidemill: {output} differs from what these specs need; the same command without --check writes it")


@app.command(epilog="Example: tidemill ci github --environment dev --environment prod")
def ci(
    system: Annotated[str, typer.Argument(help="Where the repository is: github, gitlab or azure-devops.")],
    specs: Annotated[Path, typer.Argument(help="The specs: a folder, or one file.")] = Path("dags"),
    output: Annotated[Path, typer.Option("--output", help="The repository's folder.")] = Path(),
    deploy: Annotated[str, typer.Option(help="How Airflow gets them: astronomer, image or sync.")] = "image",
    infra: Annotated[
        Path | None,
        typer.Option(
            "--infra",
            help="The folder of Terraform's roots in the repository, one for each environment; infra if absent.",
        ),
    ] = None,
    no_infra: Annotated[bool, typer.Option("--no-infra", help="Leave Terraform out.")] = False,
    environment: Annotated[
        list[str] | None, typer.Option(help="Where to deliver to, in order; the last waits for a person. Repeatable.")
    ] = None,
    branch: Annotated[str, typer.Option(help="What is merged to this branch is delivered.")] = "main",
    check: Annotated[bool, typer.Option("--check", help="Write nothing: show what would change, exit with 1.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace files that were changed by hand.")] = False,
    as_json: Json = False,
) -> None:
    """Write a repository's delivery pipeline: test each change, show Terraform's plan, apply and deploy what is merged.

    Environments are those of the specs' overlays if none is named, else dev and prod. No file holds a secret: each
    says at its top what to set before its first run. Files that were changed by hand are not replaced.
    """
    from tidemill.cli import ci as command

    if check and force:
        raise UsageProblem("--check and --force exclude each other")
    delivery = command.delivery_of(
        system,
        specs,
        output,
        deploy=deploy,
        infra=infra,
        no_infra=no_infra,
        environments=tuple(environment or ()),
        branch=branch,
    )
    changes = command.write_or_compare(delivery, output, force=force, check=check)
    if as_json:
        _print_json(command.as_json(delivery, output, changes))
    elif check:
        print(changes.diff, end="")
    else:
        print("\n".join(command.report(delivery, output, changes)))
    if check and not changes.none:
        _fail(f"tidemill: {output} has another delivery pipeline; the same command without --check writes it")


@app.command(epilog="Example: tidemill run dags/flight_delays.yaml --as-of 2013-07-01")
def run(
    file: SpecFile,
    dag: Annotated[str | None, typer.Option(help="Which of the pipeline's DAGs: training, score or monitor.")] = None,
    param: Annotated[list[str] | None, typer.Option(help="A param of the run, NAME=VALUE; may be repeated.")] = None,
    as_of: Annotated[str | None, typer.Option(help="The instant to stand at, e.g. 2013-07-01.")] = None,
    live: Annotated[bool, typer.Option(help="Use the project's own ledger and registry, not a trial copy.")] = False,
    approve: Annotated[bool, typer.Option("--approve", help="Say yes where a person is asked.")] = False,
    reject: Annotated[bool, typer.Option("--reject", help="Say no where a person is asked.")] = False,
    emulate: Annotated[bool, typer.Option("--emulate", help="Train on a stand-in for the cloud, here.")] = False,
    row: Row = None,
    environment: Environment = None,
    as_json: Json = False,
) -> None:
    """Run a pipeline here and now, by Airflow's own in-process runner.

    It keeps its own ledger and registry under .tidemill/try, so trying things out promotes nothing;
    --live uses the project's. --emulate trains on a stand-in for the pipeline's cloud. Exits with 3 where a
    person's approval is needed and nobody can be asked.
    """
    from contextlib import nullcontext

    from tidemill.cli import run as command
    from tidemill.cli.emulate import emulated
    from tidemill.cli.validate import check_environment, plan_of, verdicts

    if approve and reject:
        raise UsageProblem("--approve and --reject exclude each other")
    if emulate and live:
        raise UsageProblem("--emulate and --live exclude each other: what is trained on a stand-in serves nobody")
    _choose(environment)
    if environment is not None:
        check_environment(environment, verdicts([file]))
    plan, path, place = plan_of(file, row)
    dag_plan = next((d for d in plan.dags if dag in (None, d.kind)), None)
    if dag_plan is None:
        kinds = " or ".join(d.kind for d in plan.dags)
        hint = f"; add a `{dag}:` section" if dag in ("monitor", "score") and plan.model else f": it has {kinds}"
        raise UsageProblem(f"{plan.pipeline} has no {dag}{hint}")
    params = command.read_params(param or [], dag_plan)
    answer: command.Answer | None = "Approve" if approve else "Reject" if reject else None
    options = command.Options(as_of=as_of, live=live, answer=answer, params=params)
    with emulated(plan) if emulate else nullcontext():
        outcome = command.run(plan, dag_plan, path, place, options)
    _tell(plan, command.scratch_project(place.project, plan, live=live), outcome, as_json)


def _tell(plan: Any, project: Any, outcome: Any, as_json: bool) -> None:
    from tidemill.cli.registry import ledger_of
    from tidemill.cli.run import WAITING
    from tidemill.cli.summary import render, summarise

    summary = None
    if plan.model:
        with ledger_of(project) as ledger:
            summary = summarise(ledger.entries(plan.model), plan.model)
    if as_json:
        tasks = {name: {"state": state, "said": outcome.said.get(name, "")} for name, state in outcome.tasks.items()}
        _print_json({"state": outcome.state, "run_id": outcome.run_id, "tasks": tasks, "summary": summary})
    elif summary is not None:
        render(summary)
    if outcome.waiting:
        later = f", or later:\n  tidemill promote {plan.model} VERSION --state {project.state}" if plan.model else "."
        text = f"tidemill: a person must answer, and there is nobody to ask here. Say --approve or --reject{later}"
        _fail(text, WAITING)
    if outcome.state != "success":
        failed = [f"{task}: {outcome.said.get(task, '')}" for task, state in outcome.tasks.items() if state == "failed"]
        _fail("\n".join([*failed, f"tidemill: the run {outcome.state}; its whole log is {outcome.log}"]))


@app.command(epilog="Example: tidemill replay dags/flight_delays.yaml --from 2013-07-01 --to 2014-01-01")
def replay(
    file: SpecFile,
    since: Annotated[str | None, typer.Option("--from", help="The first as_of; the spec's start if absent.")] = None,
    until: Annotated[str | None, typer.Option("--to", help="The last as_of; the spec's end if absent.")] = None,
    row: Row = None,
    state: State = None,
    as_json: Json = False,
) -> None:
    """Move a live Airflow through past time, in order, and tell what happened.

    The address and the account come from TIDEMILL_AIRFLOW_URL, TIDEMILL_AIRFLOW_USER and
    TIDEMILL_AIRFLOW_PASSWORD, else from the Airflow that `make run` started.
    """
    from tidemill.cli.replay_command import replay_file

    replay_file(file, since, until, state, as_json, row)


@app.command(epilog="Example: tidemill backtest dags/flight_delays.yaml --from 2013-07-01 --to 2014-01-01")
def backtest(
    file: SpecFile,
    since: Annotated[str | None, typer.Option("--from", help="The first as_of; the spec's start if absent.")] = None,
    until: Annotated[str | None, typer.Option("--to", help="The last as_of; the spec's end if absent.")] = None,
    metric: Annotated[str, typer.Option(help="What to compare by; the first of evaluate.metrics if absent.")] = "",
    svg: Annotated[Path | None, typer.Option(help="Draw the comparison into this file.")] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Forget what an earlier backtest had done.")] = False,
    row: Row = None,
    environment: Environment = None,
    as_json: Json = False,
) -> None:
    """Tell what the retraining policy would have done, beside never and always retraining.

    Goes through the past window by window with the pipeline's own steps, in a ledger and registry of its own under
    .tidemill/backtest: alarms, trainings, the metric on the windows that followed, and what it would have cost. One
    that was interrupted goes on where it was.
    """
    from tidemill.cli.backtest import backtest_file

    _choose(environment)
    backtest_file(file, since, until, metric=metric, svg=svg, fresh=fresh, as_json=as_json, row=row)


@app.command(epilog="Example: tidemill history flight_delays --verify")
def history(
    model: Annotated[str, typer.Argument(help="The model's name.")],
    verify: Annotated[bool, typer.Option("--verify", help="Check that the log was not altered.")] = False,
    decisions: Annotated[
        bool, typer.Option("--decisions", help="Only the decisions to train or not, with every guard's word.")
    ] = False,
    alias: Annotated[str, typer.Option(help="The alias whose version carries the log's head.")] = "champion",
    state: State = None,
    as_json: Json = False,
) -> None:
    """Tell a model's story from the ledger: what was trained, promoted or refused, on which numbers."""
    from rich.console import Console
    from rich.table import Table

    from tidemill.cli import history_decisions, registry

    project = registry.state_project(project_here(), state)
    with registry.ledger_of(project) as ledger:
        entries = registry.entries_of(ledger, model)
        problems = registry.verify(ledger, project, model, alias) if verify else []
    found = history_decisions.decisions(entries) if decisions else None
    if as_json:
        story = registry.as_json(model, entries) if found is None else {"model": model, "decisions": found}
        _print_json(story | ({"problems": problems} if verify else {}))
    else:
        if found is None:
            table = Table("as_of", "what", "says", box=None, header_style="bold")
            for entry in entries:
                table.add_row(*registry.line_of(entry))
            Console().print(table)
        else:
            history_decisions.render(found)
        if verify and not problems:
            print(f"\nverified: {len(entries)} entries, unbroken up to {entries[-1].hash[:16]}")
    if problems:
        _fail("\n".join(f"tidemill: {problem}" for problem in problems))


@app.command(epilog="Example: tidemill promote flight_delays 4 --note 'checked by hand'")
def promote(
    model: Annotated[str, typer.Argument(help="The model's name.")],
    version: Annotated[str, typer.Argument(help="The registered version.")],
    note: Note = "",
    state: State = None,
    as_json: Json = False,
) -> None:
    """Put a registered version through its gate again, by hand; the log says who did."""
    from getpass import getuser

    from tidemill.cli import registry

    here = project_here()
    plan = registry.plan_of_model(model, here)
    outcome = registry.promote(registry.state_project(here, state), plan, version, getuser(), note)
    if as_json:
        _print_json(outcome.to_json())
    else:
        print(f"version {version} of {model}: {outcome.outcome}", *(f"  {r}" for r in outcome.reasons), sep="\n")
    if outcome.outcome != "promoted":
        raise SystemExit(1)


@app.command(epilog="Example: tidemill rollback flight_delays --note 'complaints from the hub'")
def rollback(
    model: Annotated[str, typer.Argument(help="The model's name.")],
    to: Annotated[
        str | None, typer.Option(help="A version that was promoted before; the previous one if absent.")
    ] = None,
    note: Note = "",
    state: State = None,
    as_json: Json = False,
) -> None:
    """Move the alias back to an earlier champion; the log says who did."""
    from getpass import getuser

    from tidemill.cli import registry

    here = project_here()
    plan = registry.plan_of_model(model, here)
    entry = registry.rollback(registry.state_project(here, state), plan, to, getuser(), note)
    if as_json:
        _print_json(dict(entry.body))
    else:
        print(f"{model}: back from version {entry.body['from_version']} to {entry.body['to_version']}")


app.command(epilog=DRIFT_EXAMPLE)(drift)


if __name__ == "__main__":
    main()
