"""An Airflow DAG: what is new, every night. It goes to the folder of DAGs.

Airflow runs `copydetect` on a worker that reaches the pictures and the catalogue. A night that was
ended goes on where it stopped, so a failed task is simply run again; a night too many is skipped.
"""

from __future__ import annotations

import os
from datetime import datetime, timedelta

from airflow import DAG
from airflow.operators.bash import BashOperator

CATALOG = os.environ.get("COPYDETECT_CATALOG", "/var/lib/copydetect/catalog")
PICTURES = os.environ.get("COPYDETECT_PICTURES", "/srv/pictures")
OUTPUT = os.environ.get("COPYDETECT_OUTPUT", "/var/lib/copydetect/last-night")

with DAG(
    dag_id="copydetect_nightly",
    schedule="30 2 * * *",
    start_date=datetime(2026, 1, 1),
    catchup=False,
    max_active_runs=1,
    default_args={"retries": 3, "retry_delay": timedelta(minutes=5)},
) as dag:
    BashOperator(
        task_id="nightly",
        bash_command=(
            f"copydetect nightly --catalog {CATALOG} --input {PICTURES} --output {OUTPUT} --quiet"
        ),
        # 4: another process is at work on the catalogue.
        skip_on_exit_code=4,
    )
