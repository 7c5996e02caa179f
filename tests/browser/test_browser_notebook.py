"""What a notebook shows, in a browser: nothing of it runs or loads, in light and in dark."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from session_block import RunFacts, VQEReport

EVIL = "<script>alert(1)</script><img src=x onerror=alert(2)>"


@pytest.mark.rest
@pytest.mark.parametrize(("paper", "ink"), [("white", "black"), ("#111", "white")])
def test_a_report_in_a_notebook_is_inert(page: Page, paper: str, ink: str) -> None:
    """No dialog, no request; the texts have the notebook's colour, and the figure is drawn."""
    report = VQEReport.model_validate(
        {
            "energy": -1.5,
            "exact": -1.6,
            "parameters": [0.5],
            "success": False,
            "message": EVIL,
            "optimizer": EVIL,
            "optima": [],
            "evaluations": [
                {"energy": -one / 2, "standard_error": 0.1, "parameters": [0.5], "restart": 0}
                for one in range(4)
            ],
            "run": RunFacts(
                experiment=EVIL,
                number=1,
                uid="u1",
                backend="ibm_manila",
                session_ids=["s1"],
                job_ids=["j1"],
                usage_seconds=1.5,
            ),
        }
    )
    happened: list[str] = []
    page.on("dialog", lambda dialog: (happened.append(dialog.message), dialog.dismiss()))
    page.on("request", lambda request: happened.append(request.url))
    page.set_content(f"<body style='background:{paper};color:{ink}'>{report._repr_html_()}")
    expect(page.get_by_text(f"VQE {EVIL!r}")).to_be_visible()
    figure = page.get_by_role("img", name="value over evaluation")
    expect(figure).to_be_visible()
    assert figure.evaluate("image => image.complete && image.naturalWidth") > 0
    page.get_by_text("Latest evaluations (4)").click()
    expect(page.get_by_role("columnheader", name="standard error")).to_be_visible()
    cell = page.get_by_role("cell", name="-1.5").first
    color = cell.evaluate("cell => getComputedStyle(cell).color")
    assert color == ("rgb(0, 0, 0)" if ink == "black" else "rgb(255, 255, 255)")
    assert [one for one in happened if not one.startswith("data:image/svg+xml")] == []
