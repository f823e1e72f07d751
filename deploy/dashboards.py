"""The Grafana dashboards as data: rows of panels, each with its unit, its sentence and its queries."""

from __future__ import annotations

from dataclasses import dataclass

from grafana_foundation_sdk.builders import common, dashboard, prometheus, stat, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import DataSourceRef, VariableRefresh

_SOURCE = DataSourceRef(type_val="prometheus", uid="${datasource}")


@dataclass(frozen=True)
class Graph:
    """One panel."""

    title: str
    text: str
    unit: str
    queries: tuple[tuple[str, str], ...]
    """Expression and legend of each line."""
    number: bool = False
    """A single number instead of lines."""


def _lines(title: str, text: str, unit: str, *queries: tuple[str, str]) -> Graph:
    return Graph(title, text, unit, queries)


def _number(title: str, text: str, unit: str, *queries: tuple[str, str]) -> Graph:
    return Graph(title, text, unit, queries, number=True)


def _run(expression: str, labels: str = "") -> str:
    """Only the runs that the variable names, each with its name. A series that nobody serves is not there."""
    return f'({expression}) * on (job, instance) group_left (run{labels}) lga_run_info{{run=~"$run"}}'


def _spread(histogram: str) -> tuple[tuple[str, str], ...]:
    """Median and lower tenth of what a histogram saw."""
    buckets = f"sum by (job, instance, le) ({histogram}_bucket)"
    return tuple(
        (_run(f"histogram_quantile({quantile}, {buckets})"), name)
        for quantile, name in ((0.5, "median"), (0.1, "lower tenth"))
    )


_BUSY = (
    'sum without (stage) (rate(lga_score_stage_seconds_total{stage="predict"}[$__rate_interval]))'
    " / sum without (device) (lga_score_engines)"
)
_FILL = (
    'sum without (status) (rate(lga_score_images_total{status="ok"}[$__rate_interval]))'
    " / (rate(lga_score_engine_batches_total[$__rate_interval]) > 0) / lga_score_batch_size"
)
_LABEL_SHARE = (
    "lga_score_labels_total / on (job, instance) group_left () sum by (job, instance) (lga_score_labels_total)"
)
_FAILED_SHARE = (
    'lga_last_run_objects{state="failed"} / ignoring (state)'
    ' (lga_last_run_objects{state="ok"} + ignoring (state) lga_last_run_objects{state="failed"})'
)
_WAITING = (
    "rate(lga_train_data_wait_seconds_total[$__rate_interval])"
    " / (rate(lga_train_data_wait_seconds_total[$__rate_interval])"
    " + rate(lga_train_step_seconds_total[$__rate_interval]))"
)

FLEET = (
    _number(
        "Since the last success", "Of each schedule; none for one and a half periods, however it ended, is an alert.",
        "s",
        ("time() - lga_last_run_success_timestamp_seconds", "{{command}} {{pipeline}}"),
    ),
    _number(
        "Exit code of the last run", "0 done, 3 too many failures, 4 refused, anything else failed.", "none",
        ("lga_last_run_exit_code", "{{command}} {{pipeline}}"),
    ),
    _number(
        "Age of the model in use", "Since the version was published.", "s",
        ("time() - lga_last_run_model_created_timestamp_seconds", "{{pipeline}}"),
    ),
    _number(
        "Runs at work", "Processes that serve metrics now.", "none",
        ('count by (command) (lga_run_info{run=~"$run"})', "{{command}}"),
    ),
    _lines(
        "Objects of the last runs", "Where every listed object went: listed = ok + failed + skipped.", "short",
        ("lga_last_run_objects", "{{pipeline}} {{state}}"),
    ),
    _lines(
        "Duration of the last runs", "However they ended.", "s",
        ("lga_last_run_duration_seconds", "{{command}} {{pipeline}}"),
    ),
    _lines(
        "Cost of the last runs", "In the currency of --price-per-hour; empty where nobody named a price.", "none",
        ("lga_last_run_cost", "{{command}} {{pipeline}}"),
    ),
    _lines(
        "Failures of the last runs by reason", "Rows without a label; `lga runs quarantine` lists them.", "short",
        ("lga_last_run_failures > 0", "{{pipeline}} {{reason}}"),
    ),
    _lines(
        "Speed now", "Objects of all runs, by outcome.", "cps",
        ("sum by (status) (rate(lga_score_images_total[$__rate_interval]))", "{{status}}"),
    ),
    _lines(
        "Requests to the store", "By what became of them; throttled ones are repeated.", "reqps",
        (
            "sum by (operation, outcome) (rate(lga_storage_requests_total[$__rate_interval])) > 0",
            "{{operation}} {{outcome}}",
        ),
    ),
)  # fmt: skip

RUN = (
    _lines(
        "Objects", "From the ledger: listed = skipped + written + pending.", "short",
        (_run("lga_score_objects"), "{{state}}"),
    ),
    _lines("Time left", "At the rate of this attempt so far.", "s", (_run("lga_score_remaining_seconds"), "{{run}}")),
    _lines(
        "Objects by outcome", "Failed ones are rows with a reason.", "cps",
        (_run("rate(lga_score_images_total[$__rate_interval])"), "{{status}}"),
    ),
    _lines(
        "Failures by reason", "The closed set of reasons; each row has its detail.", "short",
        (_run("lga_score_failures_total"), "{{reason}}"),
    ),
    _lines(
        "Seconds in each stage", "Of all workers together, in one second: cores or engines at work.", "short",
        (_run("rate(lga_score_stage_seconds_total[$__rate_interval])"), "{{stage}}"),
    ),
    _lines(
        "Engines busy", "Share of the time in which the engines compute; far below 1 they wait for photographs.",
        "percentunit", (_run(_BUSY), "{{run}}"),
    ),
    _lines(
        "Batch fill", "Images in an engine call, of the batch size; far below 1 a GPU is paid for and not used.",
        "percentunit", (_run(_FILL), "{{run}}"),
    ),
    _lines(
        "Cost", "Of this attempt so far, in the currency of --price-per-hour.", "none",
        (_run("lga_score_cost_total"), "{{run}}"),
    ),
    _lines(
        "Bytes", "Photographs read and shards written.", "Bps",
        (_run("rate(lga_score_read_bytes_total[$__rate_interval])"), "read"),
        (_run("rate(lga_score_written_bytes_total[$__rate_interval])"), "written"),
    ),
    _lines(
        "Requests to the store", "Of the driver, and of its fetching tasks with each shard.", "reqps",
        (_run("sum by (job, instance, outcome) (rate(lga_storage_requests_total[$__rate_interval]))"), "{{outcome}}"),
    ),
)  # fmt: skip

QUALITY = (
    _lines(
        "Confidence", "Median and lower tenth of the probability of the label.", "percentunit",
        *_spread("lga_score_confidence"),
    ),
    _lines(
        "Focus", "Median and lower tenth of the share of the evidence that lies on the person.", "percentunit",
        *_spread("lga_score_focus"),
    ),
    _lines(
        "Shares of the labels", "A label that takes nearly everything is an alert.", "percentunit",
        (_run(_LABEL_SHARE), "{{label}}"),
    ),
    _lines(
        "Drift of the last runs", "Stability index against the model's validation split; above 0.25 is an alert.",
        "none", ("lga_last_run_drift_psi", "{{pipeline}} {{output}}"),
    ),
    _lines(
        "Mean confidence of the last runs", "A tenth below the two weeks before is an alert.", "percentunit",
        ("lga_last_run_confidence_mean", "{{pipeline}}"),
    ),
    _lines(
        "Mean focus of the last runs", "Low: the labels come from the background.", "percentunit",
        ("lga_last_run_focus_mean", "{{pipeline}}"),
    ),
    _lines(
        "Failed share of the last runs", "Of what was scored.", "percentunit", (_FAILED_SHARE, "{{pipeline}}"),
    ),
    _lines(
        "Engine against model", "Share of photographs with the same label, of the last compilations.", "percentunit",
        ("lga_last_run_parity_top1_agreement", "{{pipeline}}"),
    ),
)  # fmt: skip

TRAINING = (
    _lines(
        "Epochs", "Finished, and planned.", "none",
        (_run("lga_train_epoch"), "finished"), (_run("lga_train_epochs"), "planned"),
    ),
    _lines("Loss", "Mean of the latest steps, by term of Eq. 1.", "none", (_run("lga_train_loss"), "{{term}}")),
    _lines("Validation mAP", "Of the latest epoch.", "percentunit", (_run("lga_train_map"), "{{run}}")),
    _lines("Focus in the true boxes", "On the validation split.", "percentunit", (_run("lga_train_focus"), "{{run}}")),
    _lines(
        "Images", "Trained on, by all workers.", "cps",
        (_run("rate(lga_train_images_total[$__rate_interval])"), "{{run}}"),
    ),
    _lines(
        "Waiting for data", "Share of the workers' time; above a tenth, add cores or cache.", "percentunit",
        (_run(_WAITING), "{{run}}"),
    ),
    _lines("Learning rate", "Of the branches.", "sci", (_run("lga_train_learning_rate"), "{{run}}")),
    _lines(
        "mAP of the last trainings", "Of the best epoch that was published.", "percentunit",
        ("lga_last_run_map", "{{pipeline}}"),
    ),
    _lines(
        "Age of the newest checkpoint", "What would be trained again if all workers were lost now.", "s",
        (_run("time() - (lga_train_checkpoint_timestamp_seconds > 0)"), "{{run}}"),
    ),
    _lines(
        "How the last trainings ended",
        "0: published; 4: the gate refused, and the table in the log says why; others: it failed.", "none",
        ('lga_last_run_exit_code{command="train"}', "{{pipeline}}"),
    ),
)  # fmt: skip

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
        query = prometheus.Dataquery().expr(expression).legend_format(legend).ref_id(letter)
        # A number is what holds now: over a range it would be what a series that has ended said last.
        panel = panel.with_target(query.instant() if graph.number else query)
    return panel
