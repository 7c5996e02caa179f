"""Run by a test in a process of its own: standard input is a JobRef, the last line the answer."""

import json
import sys

from qiskit import QuantumCircuit

from session_block import JobRef
from session_block.errors import LabelRequiredError
from session_block.tasks import fetch_result, submit_sampler

job = JobRef.model_validate_json(sys.stdin.read())
circuit = QuantumCircuit(1, 1)
circuit.x(0)
circuit.measure(0, 0)

counts = fetch_result(job)[0].data.c.get_counts()
try:
    submit_sampler(job.session, [circuit], shots=30)
    unlabelled = None
except LabelRequiredError as error:
    unlabelled = type(error).__name__
labelled = submit_sampler(job.session, [circuit], shots=30, label="from elsewhere")
again = submit_sampler(job.session, [circuit], shots=30, label="from elsewhere")
answer = {
    "counts": counts,
    "unlabelled": unlabelled,
    "labelled": labelled.model_dump(),
    "again": again.job_id,
}
print(json.dumps(answer))  # noqa: T201 - the answer
