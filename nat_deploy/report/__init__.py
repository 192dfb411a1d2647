"""A run explained: one HTML file, tables for the terminal, Markdown, and a picture of the front. No torch in here."""

from nat_deploy.report.front_picture import FrontPicture, PicturePoint, picture_of, write_front_picture
from nat_deploy.report.html_page import write_report
from nat_deploy.report.markdown import write_markdown
from nat_deploy.report.reading import RunReading, read_run
from nat_deploy.report.run_space import read_space, space_provenance
from nat_deploy.report.tables import (
    Table,
    all_tables,
    answer_table,
    files_table,
    finalists_table,
    iterations_table,
    latency_table,
    provenance_table,
    request_table,
    settings_table,
    to_rich,
)

__all__ = [
    "FrontPicture",
    "PicturePoint",
    "RunReading",
    "Table",
    "all_tables",
    "answer_table",
    "files_table",
    "finalists_table",
    "iterations_table",
    "latency_table",
    "picture_of",
    "provenance_table",
    "read_run",
    "read_space",
    "request_table",
    "settings_table",
    "space_provenance",
    "to_rich",
    "write_front_picture",
    "write_markdown",
    "write_report",
]
