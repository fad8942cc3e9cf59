"""A live kernel, and what a browser would send to the widgets in it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ipykernel.kernelspec import get_kernel_dict
from jupyter_client.blocking import BlockingKernelClient
from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
from jupyter_client.manager import KernelManager

NOTEBOOKS = Path(__file__).resolve().parents[1] / "notebooks"


class ThisPython(KernelSpecManager):
    """Kernels of the Python that runs the tests, whatever else is installed."""

    def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
        return KernelSpec(**get_kernel_dict(extra_arguments=["--log-level=CRITICAL"]))


class LiveKernel:
    """A kernel in the folder of the notebooks, as a notebook's front end talks to it."""

    def __init__(self, client: BlockingKernelClient) -> None:
        self.client = client

    def run(self, code: str) -> str:
        """What the code prints; an error in it fails the test."""
        printed: list[str] = []

        def hear(message: dict[str, Any]) -> None:
            if message["msg_type"] == "stream":
                printed.append(message["content"]["text"])

        reply = self.client.execute_interactive(code, timeout=120, output_hook=hear)
        assert reply["content"]["status"] == "ok", reply["content"]
        return "".join(printed).strip()

    def send(self, widget: str, state: dict[str, Any]) -> None:
        """Change traits of the widget with this name, by the message that a browser sends."""
        data = {"method": "update", "state": state, "buffer_paths": []}
        content = {"comm_id": self.run(f"print({widget}.model_id)"), "data": data}
        self.client.shell_channel.send(self.client.session.msg("comm_msg", content))


@pytest.fixture(scope="session")
def running_kernel() -> Iterator[LiveKernel]:
    """One kernel for all tests: it takes longer to start, and to import, than they take."""
    manager = KernelManager(kernel_spec_manager=ThisPython())
    manager.start_kernel(cwd=str(NOTEBOOKS))
    client = manager.client()
    client.start_channels()
    try:
        client.wait_for_ready(timeout=60)
        yield LiveKernel(client)
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


@pytest.fixture
def kernel(running_kernel: LiveKernel) -> LiveKernel:
    """A live kernel without any name of another test."""
    running_kernel.run("%reset -f")
    return running_kernel
