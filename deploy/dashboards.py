"""The Grafana dashboards as data: rows of panels, each with its unit, its sentence and its queries."""

from __future__ import annotations

from dataclasses import dataclass

from grafana_foundation_sdk.builders import common, dashboard, prometheus, stat, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import DataSourceRef, VariableRefresh

_SOURCE = DataSourceRef(type_val="prometheus", uid="${datasource}")


@dataclass(frozen=True, kw_only=True)
class Graph:
    """One panel."""

    title: str
    text: str
    unit: str
    queries: tuple[tuple[str, str], ...]
    """Expression and legend of each line."""
    number: bool = False
    """A single number instead of lines."""


def _run(expression: str, labels: str = "") -> str:
    """Only the runs that the variable names, each with its name. A series that nobody serves is not there."""
    return f'({expression}) * on (job, instance) group_left (run{labels}) lga_run_info{{run=~"$run"}}'


FLEET = (
    Graph(
        title="Hours since the last success",
        text="Of each schedule; more than one and a half periods is an alert.",
        unit="s",
        queries=(("time() - lga_last_run_success_timestamp_seconds", "{{command}} {{pipeline}}"),),
        number=True,
    ),
    Graph(
        title="Exit code of the last run",
        text="0 done, 3 too many failures, 4 refused, anything else failed.",
        unit="none",
        queries=(("lga_last_run_exit_code", "{{command}} {{pipeline}}"),),
        number=True,
    ),
    Graph(
        title="Age of the model in use",
        text="Since the version was published.",
        unit="s",
        queries=(("time() - lga_last_run_model_created_timestamp_seconds", "{{pipeline}}"),),
        number=True,
    ),
    Graph(
        title="Runs at work",
        text="Processes that serve metrics now.",
        unit="none",
        queries=(('count by (command) (lga_run_info{run=~"$run"})', "{{command}}"),),
        number=True,
    ),
    Graph(
        title="Objects of the last runs",
        text="Where every listed object went: listed = ok + failed + skipped.",
        unit="short",
        queries=(("lga_last_run_objects", "{{pipeline}} {{state}}"),),
    ),
    Graph(
        title="Duration of the last runs",
        text="However they ended.",
        unit="s",
        queries=(("lga_last_run_duration_seconds", "{{command}} {{pipeline}}"),),
    ),
    Graph(
        title="Speed now",
        text="Objects of all runs, by outcome.",
        unit="cps",
        queries=(("sum by (status) (rate(lga_score_images_total[5m]))", "{{status}}"),),
    ),
    Graph(
        title="Requests to the store",
        text="By what became of them; throttled ones are repeated.",
        unit="reqps",
        queries=(
            ("sum by (operation, outcome) (rate(lga_storage_requests_total[5m])) > 0", "{{operation}} {{outcome}}"),
        ),
    ),
)

RUN = (
    Graph(
        title="Objects",
        text="From the ledger: listed = skipped + written + pending.",
        unit="short",
        queries=((_run("lga_score_objects"), "{{state}}"),),
    ),
    Graph(
        title="Time left",
        text="At the rate of this attempt so far.",
        unit="s",
        queries=((_run("lga_score_remaining_seconds"), "{{run}}"),),
    ),
    Graph(
        title="Objects by outcome",
        text="Failed ones are rows with a reason.",
        unit="cps",
        queries=((_run("rate(lga_score_images_total[5m])"), "{{status}}"),),
    ),
    Graph(
        title="Failures by reason",
        text="The closed set of reasons; each row has its detail.",
        unit="short",
        queries=((_run("lga_score_failures_total"), "{{reason}}"),),
    ),
    Graph(
        title="Seconds in each stage",
        text="Of all workers together, in one second: cores or engines at work.",
        unit="short",
        queries=((_run("rate(lga_score_stage_seconds_total[5m])"), "{{stage}}"),),
    ),
    Graph(
        title="Engines busy",
        text="Share of the time in which the engines compute; far below 1 they wait for photographs.",
        unit="percentunit",
        queries=(
            (
                _run(
                    'sum without (stage) (rate(lga_score_stage_seconds_total{stage="predict"}[5m]))'
                    " / sum without (device) (lga_score_engines)"
                ),
                "{{run}}",
            ),
        ),
    ),
    Graph(
        title="Bytes",
        text="Photographs read and shards written.",
        unit="Bps",
        queries=(
            (_run("rate(lga_score_read_bytes_total[5m])"), "read"),
            (_run("rate(lga_score_written_bytes_total[5m])"), "written"),
        ),
    ),
    Graph(
        title="Requests to the store",
        text="Of the driver and of its fetching tasks.",
        unit="reqps",
        queries=((_run("sum by (job, instance, outcome) (rate(lga_storage_requests_total[5m]))"), "{{outcome}}"),),
    ),
)

QUALITY = (
    Graph(
        title="Confidence",
        text="Median and lower tenth of the probability of the label.",
        unit="percentunit",
        queries=tuple(
            (_run(f"histogram_quantile({q}, sum by (job, instance, le) (lga_score_confidence_bucket))"), name)
            for q, name in ((0.5, "median"), (0.1, "lower tenth"))
        ),
    ),
    Graph(
        title="Focus",
        text="Median and lower tenth of the share of the evidence that lies on the person.",
        unit="percentunit",
        queries=tuple(
            (_run(f"histogram_quantile({q}, sum by (job, instance, le) (lga_score_focus_bucket))"), name)
            for q, name in ((0.5, "median"), (0.1, "lower tenth"))
        ),
    ),
    Graph(
        title="Shares of the labels",
        text="A label that takes nearly everything is an alert.",
        unit="percentunit",
        queries=(
            (
                _run(
                    "lga_score_labels_total"
                    " / on (job, instance) group_left () sum by (job, instance) (lga_score_labels_total)"
                ),
                "{{label}}",
            ),
        ),
    ),
    Graph(
        title="Drift",
        text="Stability index against the model's validation split; above 0.25 is an alert.",
        unit="none",
        queries=(("lga_last_run_drift_psi", "{{pipeline}} {{output}}"),),
    ),
    Graph(
        title="Mean confidence of the last runs",
        text="A tenth below the two weeks before is an alert.",
        unit="percentunit",
        queries=(("lga_last_run_confidence_mean", "{{pipeline}}"),),
    ),
    Graph(
        title="Mean focus of the last runs",
        text="Low: the labels come from the background.",
        unit="percentunit",
        queries=(("lga_last_run_focus_mean", "{{pipeline}}"),),
    ),
    Graph(
        title="Failed share of the last runs",
        text="Of what was scored.",
        unit="percentunit",
        queries=(
            (
                (
                    'lga_last_run_objects{state="failed"} / ignoring (state)'
                    ' (lga_last_run_objects{state="ok"} + ignoring (state) lga_last_run_objects{state="failed"})'
                ),
                "{{pipeline}}",
            ),
        ),
    ),
)

TRAINING = (
    Graph(
        title="Epochs",
        text="Finished, and planned.",
        unit="none",
        queries=((_run("lga_train_epoch"), "finished"), (_run("lga_train_epochs"), "planned")),
    ),
    Graph(
        title="Loss",
        text="Mean of the latest steps, by term of Eq. 1.",
        unit="none",
        queries=((_run("lga_train_loss"), "{{term}}"),),
    ),
    Graph(
        title="Validation mAP",
        text="Of the latest epoch.",
        unit="percentunit",
        queries=((_run("lga_train_map"), "{{run}}"),),
    ),
    Graph(
        title="Focus in the true boxes",
        text="On the validation split.",
        unit="percentunit",
        queries=((_run("lga_train_focus"), "{{run}}"),),
    ),
    Graph(
        title="Images",
        text="Trained on, by all workers.",
        unit="cps",
        queries=((_run("rate(lga_train_images_total[5m])"), "{{run}}"),),
    ),
    Graph(
        title="Waiting for data",
        text="Share of the workers' time; above a tenth, add cores or cache.",
        unit="percentunit",
        queries=(
            (
                _run(
                    "rate(lga_train_data_wait_seconds_total[5m])"
                    " / (rate(lga_train_data_wait_seconds_total[5m]) + rate(lga_train_step_seconds_total[5m]))"
                ),
                "{{run}}",
            ),
        ),
    ),
    Graph(
        title="Learning rate",
        text="Of the branches.",
        unit="sci",
        queries=((_run("lga_train_learning_rate"), "{{run}}"),),
    ),
    Graph(
        title="Age of the newest checkpoint",
        text="What would be trained again if all workers were lost now.",
        unit="s",
        queries=((_run("time() - lga_train_checkpoint_timestamp_seconds"), "{{run}}"),),
    ),
    Graph(
        title="How the last trainings ended",
        text="0: published; 4: the gate refused, and the table in the log says why; others: it failed.",
        unit="none",
        queries=(('lga_last_run_exit_code{command="train"}', "{{pipeline}}"),),
    ),
    Graph(
        title="mAP of the last trainings",
        text="Of the best epoch that was published.",
        unit="percentunit",
        queries=(("lga_last_run_map", "{{pipeline}}"),),
    ),
)

DASHBOARDS = {
    "fleet": ("LGA: fleet", "Is everything that should run running, and did it work?", FLEET),
    "run": ("LGA: one run", "How far it is, how fast, and what holds it up.", RUN),
    "quality": ("LGA: model quality", "Are the labels as good as they were?", QUALITY),
    "training": ("LGA: training", "Does it learn, and does it wait for data?", TRAINING),
}
"""Name of the file -> title, question that it answers, panels."""


def dashboard_json(name: str) -> str:
    """One dashboard as Grafana imports it."""
    title, question, graphs = DASHBOARDS[name]
    source = dashboard.DatasourceVariable("datasource").label("Data source").type("prometheus")
    run = (
        dashboard.QueryVariable("run").label("Run").datasource(_SOURCE).query("label_values(lga_run_info, run)")
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED).include_all(True).all_value(".*").multi(True)
    )  # fmt: skip
    board = (
        dashboard.Dashboard(title).uid(f"lga-{name}").description(question).tags(["lga"]).refresh("30s")
        .time("now-6h", "now").timezone("browser").with_variable(source).with_variable(run)
    )  # fmt: skip
    for graph in graphs:
        board = board.with_panel(_panel(graph))
    return str(JSONEncoder(sort_keys=True, indent=2).encode(board.build())) + "\n"


def _panel(graph: Graph) -> stat.Panel | timeseries.Panel:
    panel: stat.Panel | timeseries.Panel
    if graph.number:
        panel = stat.Panel().reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"])).span(6).height(5)
    else:
        panel = timeseries.Panel().fill_opacity(10).span(12).height(8)
    panel = panel.title(graph.title).description(graph.text).unit(graph.unit).datasource(_SOURCE)
    for letter, (expression, legend) in zip("ABCDEF", graph.queries, strict=False):
        panel = panel.with_target(prometheus.Dataquery().expr(expression).legend_format(legend).ref_id(letter))
    return panel
