"""Commands of reinforcement learning: train, evaluate, play and tune agents, and list what there is."""

from pathlib import Path
from typing import Annotated, Any

import typer

import kerasdl
from kerasdl.core import checks
from kerasdl.rl.agents.listing import list_agents
from kerasdl.rl.agents.presets import PRESETS

from .. import agent_checks
from ..application import Json, app
from ..output import reported, show_json, show_table

commands = typer.Typer(help="Reinforcement learning: train, evaluate, play and tune agents.", no_args_is_help=True)
app.add_typer(commands, name="rl")

Agent = Annotated[str, typer.Argument(help="An agent, such as ppo; `kerasdl rl list` names all.")]
Environment = Annotated[str, typer.Argument(help="An environment, such as cartpole, or gymnasium:LunarLander-v3.")]
Player = Annotated[str, typer.Argument(help="The folder of a training, an agent that was saved, or a bundle.")]
Out = Annotated[Path, typer.Option("--out", "-o", help="The folder; a killed run goes on by the same call.")]
Steps = Annotated[int | None, typer.Option(help="Environment steps of each training; else those of the preset.")]
Processes = Annotated[int | None, typer.Option(help="Processes at once; else one for each core.")]
Episodes = Annotated[int, typer.Option(help="Episodes of the evaluation.")]
Resume = Annotated[bool, typer.Option(help="Whether the run in --out goes on.")]
Env = Annotated[str | None, typer.Option(help="The environment of an agent or bundle of Gymnasium: gymnasium:NAME.")]
EVALUATION_SEED = 2_000_003  # not that of the evaluation at the end of a training
CONTROL = ("discrete_control", "continuous_control")


@commands.command(name="list")
@reported
def list_parts(json: Json = False) -> None:
    """List agents and environments, and the presets of both."""
    agents, environments = list_agents(), agent_checks.environment_names()
    presets = [(agent, env, each.steps, each.bar) for (agent, env), each in sorted(PRESETS.items())]
    if json:
        names = ("agent", "environment", "steps", "bar")
        rows = [dict(zip(names, each, strict=True)) for each in presets]
        return show_json({"agents": agents, "environments": environments, "presets": rows})
    print("agents:", ", ".join(agents))
    print("environments:", ", ".join(environments))
    show_table("presets", ("agent", "environment", "steps", "return asked for"), presets)


@commands.command()
@reported
def train(
    agent: Agent,
    environment: Environment,
    out: Out,
    seeds: Annotated[int, typer.Option(help="Number of seeds, each in a process of its own.")] = 1,
    first_seed: Annotated[int, typer.Option(help="The first seed.")] = 0,
    steps: Steps = None,
    settings: Annotated[Path | None, typer.Option(help="A JSON file of settings, such as best.json of tune.")] = None,
    change: Annotated[list[str] | None, typer.Option("--set", help="A setting, such as learning_rate=1e-3.")] = None,
    processes: Processes = None,
    episodes: Episodes = 100,
    curve_episodes: Annotated[int, typer.Option(help="Episodes of each evaluation within a training.")] = 20,
    resume: Resume = True,
    json: Json = False,
) -> None:
    """Train an agent by several seeds, and draw their learning curves."""
    agent = agent_checks.check_training(agent, environment, out)
    changed = agent_checks.settings_of(change or [], settings)
    checks.at_least("--seeds", seeds, 1)
    checks.at_least("--first-seed", first_seed, 0)
    study = kerasdl.rl.train_seeds(
        agent,
        environment,
        changed,
        folder=out,
        seeds=range(first_seed, first_seed + seeds),
        steps=steps,
        processes=processes,
        episodes=episodes,
        curve_episodes=curve_episodes,
        resume=resume,
        progress="off" if json else "auto",
    )
    low, high = study.interval or (None, None)
    if json:
        found = {"agent": agent, "environment": environment, "steps": study.steps[-1], "seeds": study.seeds}
        found |= {"returns": study.returns, "interquartile_mean": study.mean, "low": low, "high": high}
        return show_json({**found, "bar": study.bar, "reached": study.reached, "folder": str(out)})
    rows = zip(study.seeds, study.returns.tolist(), study.seconds, strict=True)
    show_table(f"{agent} on {environment}, {study.steps[-1]:,} steps", ("seed", "return", "seconds"), rows)
    interval = "" if low is None else f", 95 % interval {low:.4g} to {high:.4g}"
    print(f"Interquartile mean {study.mean:.4g}{interval}.")
    if study.bar is not None:
        print(f"{study.reached} of {seeds} seeds reach {study.bar:.4g}.")
    print(f"{out}/curves.png shows the curves. Next: kerasdl rl play {out} --gif {out}/play.gif")


@commands.command()
@reported
def evaluate(
    player: Player,
    episodes: Episodes = 100,
    seed: Annotated[int, typer.Option(help="Seed of the episodes.")] = EVALUATION_SEED,
    env: Env = None,
    json: Json = False,
) -> None:
    """Measure the returns of whole episodes: of each seed of a training, of an agent, or of a bundle."""
    checks.at_least("--episodes", episodes, 1)
    checks.at_least("--seed", seed, 0)
    found = {}
    for name, each in players(player, env):
        found[name] = each.evaluate(episodes, seed=seed)
    rows = [(name, each.mean, each.deviation, float(each.lengths.mean())) for name, each in found.items()]
    if json:
        names = ("player", "return", "deviation", "length")
        return show_json([dict(zip(names, row, strict=True)) for row in rows])
    show_table(f"{player}, {episodes} episodes", ("player", "return", "deviation", "length"), rows)


@commands.command()
@reported
def play(
    player: Player,
    gif: Annotated[Path, typer.Option(help="The film of one episode, a .gif file.")],
    seed: Annotated[int, typer.Option(help="Seed of the episode.")] = 0,
    frames_per_second: Annotated[int, typer.Option(help="Speed of the film, 1 to 50.")] = 30,
    most_steps: Annotated[int, typer.Option(help="Steps after which the film ends.")] = 1000,
    env: Env = None,
    json: Json = False,
) -> None:
    """Film one episode of an agent or a bundle; of a training the seed with the highest return plays."""
    if gif.suffix != ".gif":
        checks.refuse("--gif must end in .gif", str(gif))
    (name, chosen), *_ = players(player, env, best=True)
    stage = chosen.env
    if chosen.on_host:
        stage = kerasdl.rl.GymnasiumEnvironments(stage.name, 1, settings={"render_mode": "rgb_array"})
    shown = {"seed": seed, "frames_per_second": frames_per_second, "most_steps": most_steps}
    found = kerasdl.rl.record_episode(stage, gif, chosen.act, **shown)
    if json:
        return show_json({"player": name, "gif": str(gif), "return": found.episode_return, "length": found.length})
    print(f"{name}: return {found.episode_return:.4g} in {found.length} steps. {gif} shows them.")


@commands.command()
@reported
def tune(
    agent: Agent,
    environment: Environment,
    out: Out,
    trials: Annotated[int, typer.Option(help="Random draws of settings, beside the preset.")] = 16,
    seeds: Annotated[int, typer.Option(help="Number of seeds of each trial.")] = 1,
    steps: Steps = None,
    processes: Processes = None,
    episodes: Episodes = 100,
    seed: Annotated[int, typer.Option(help="Seed of the draws.")] = 0,
    resume: Resume = True,
    json: Json = False,
) -> None:
    """Search for settings at random, and compare them with the preset over the same seeds."""
    agent = agent_checks.check_training(agent, environment, out)
    checks.at_least("--trials", trials, 1)
    result = kerasdl.rl.tune(
        agent,
        environment,
        folder=out,
        trials=trials,
        seeds=seeds,
        steps=steps,
        processes=processes,
        episodes=episodes,
        seed=seed,
        resume=resume,
        progress="off" if json else "auto",
    )
    if json:
        return print(result.to_json())
    print(result.table())
    fresh = f"kerasdl rl train {agent.lower()} {environment} --settings {out}/best.json --seeds 5 --first-seed 100"
    print(f"Best: {result.best.label}. The best of many was lucky too; other seeds tell: {fresh} -o {out}/best")


def players(name: str, env: str | None, best: bool = False) -> list[tuple[str, Any]]:
    """Returns what acts by the name of a study, an agent or a bundle, each with its environment and a name.

    Args:
        name: a folder, or the name of a bundle.
        env: name of another environment; None takes that of the training.
        best: True for the best seed of a study alone.
    """
    if env is not None:
        agent_checks.check_environment(env)
    kind = agent_checks.player_kind(name)
    if kind == "bundle":
        bundle = kerasdl.load_bundle(name)
        if bundle.task.name not in CONTROL:
            checks.refuse(f"a bundle that plays must be of the task {' or '.join(CONTROL)}", bundle.task.name)
        place = kerasdl.rl.environment_named(env or bundle.preprocess["environment"])
        return [(name, kerasdl.rl.PolicyPlayer(bundle.model, place))]
    if kind == "agent":
        return [(name, kerasdl.rl.agent_of_folder(name, env))]
    return [(f"seed {seed}", agent) for seed, agent in kerasdl.rl.study_agents(name, best=best)]
