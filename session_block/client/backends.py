"""The backends of one instance."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from qiskit.providers.exceptions import QiskitBackendNotFoundError
from qiskit.transpiler import Target
from qiskit_ibm_runtime import QiskitRuntimeService
from qiskit_ibm_runtime.exceptions import IBMInputValueError

from session_block.client.failures import UnreadableAnswerError
from session_block.client.service import LeanBackend, connecting
from session_block.errors import BackendNotFoundError


@dataclass(frozen=True)
class BackendChoice:
    """A backend, and which of its gates and calibrations to use.

    Attributes:
        use_fractional_gates: Whether circuits may use fractional gates; ``None`` for all the
            backend's instructions.
        calibration_id: Which of its calibrations to use; ``None`` for the newest.
    """

    name: str
    use_fractional_gates: bool | None = False
    calibration_id: str | None = None


class Backends:
    """Finds an instance's backends; each is fetched once.

    Args:
        service: The client's service.
        api: Returns the service's HTTP layer for the instance.
        instance: CRN of the instance.
    """

    def __init__(
        self, service: QiskitRuntimeService, api: Callable[[], Any], instance: str
    ) -> None:
        self._service = service
        self._api = api
        self._instance = instance
        self._found: dict[BackendChoice, LeanBackend] = {}

    def get(self, choice: BackendChoice) -> LeanBackend:
        """Return a backend of the instance.

        Raises:
            BackendNotFoundError: The instance has no such backend, or the backend does not have
                the gates or the calibration.
        """
        if choice not in self._found:
            with connecting(f"look up backend {choice.name!r}"):
                try:
                    found = self._service.backend(
                        choice.name,
                        instance=self._instance,
                        use_fractional_gates=choice.use_fractional_gates,
                        calibration_id=choice.calibration_id,
                    )
                except QiskitBackendNotFoundError as error:
                    raise self._not_found(choice) from error
                except IBMInputValueError as error:
                    raise BackendNotFoundError(
                        f"{error.message} Change the QuantumSession Block's backend settings."
                    ) from error
            self._found[choice] = LeanBackend.of(found)
        return self._found[choice]

    def target(self, choice: BackendChoice) -> Target:
        """Return a backend's target: the instructions that its circuits may use."""
        device = self.get(choice)
        with connecting(f"read the properties of backend {choice.name!r}"):
            return device.target

    def _not_found(self, choice: BackendChoice) -> Exception:
        """Return the error that says why the client did not find a backend.

        The client's own error does not say, also if the platform could not be read.
        """
        known = self.names()
        if choice.name not in known:
            return BackendNotFoundError(
                f"The instance {self._instance} has no backend {choice.name!r}; it has "
                f"{', '.join(known) or 'none'}. Set backend_name of the QuantumSession Block to "
                "one of them."
            )
        if choice.calibration_id is not None:
            return BackendNotFoundError(
                f"Backend {choice.name!r} has no calibration {choice.calibration_id!r}. Set "
                "calibration_id of the QuantumSession Block to one that it has, or leave it empty."
            )
        return UnreadableAnswerError("it is listed, but cannot be read")

    def least_busy(self, min_num_qubits: int | None) -> list[str]:
        """Return the names of the backends that are up, least busy first.

        The client's own ``least_busy`` answers from its first listing, and hides why a listing
        failed.

        Args:
            min_num_qubits: Minimum number of qubits; ``None`` for no minimum.

        Raises:
            ConnectionFailedError: The listing failed.
        """
        listed = self._listed(min_num_qubits)
        with connecting("read the states of the instance's backends"):
            up = [one for one in listed if one["status"]["name"] == "online"]
            up.sort(key=lambda one: (one["queue_length"], one["name"]))
            return [one["name"] for one in up]

    def names(self, min_num_qubits: int | None = None) -> Sequence[str]:
        """Return the names of the backends, whatever their state, in alphabetical order.

        Args:
            min_num_qubits: Minimum number of qubits; ``None`` for no minimum.

        Raises:
            ConnectionFailedError: The listing failed.
        """
        return sorted(one["name"] for one in self._listed(min_num_qubits))

    def _listed(self, min_num_qubits: int | None) -> list[dict[str, Any]]:
        with connecting("list the backends of the instance"):
            return [
                one
                for one in self._api().list_backends()
                if one["qubits"] >= (min_num_qubits or 0) and not one.get("is_simulator")
            ]

    def why_not_up(self, choice: BackendChoice) -> str | None:
        """Return the platform's reason why a backend runs no jobs now; ``None`` if it runs jobs."""
        device = self.get(choice)
        with connecting(f"read the state of backend {choice.name!r}"):
            state = device.status_now()
        if state.operational and state.status_msg == "active":
            return None
        return str(state.status_msg or "not operational")

    def calibrated_at(self, choice: BackendChoice) -> datetime | None:
        """Return when a backend was last calibrated, from a new request; ``None`` if unknown."""
        device = self.get(choice)
        with connecting(f"read the calibration of backend {choice.name!r}"):
            properties = device.properties(refresh=True)
        moment: datetime | None = getattr(properties, "last_update_date", None)
        return moment
