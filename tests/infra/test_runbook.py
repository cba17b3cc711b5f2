"""What docs/runbook.md says to type."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from proofs.lakefs_server import Server
from resources.lake import LakeError
from resources.lakefs_connection import Connection, connect, exists

RUNBOOK = (Path(__file__).parent.parent.parent / "docs" / "runbook.md").read_text()
BLOCKS = re.findall(r"```bash\n(.*?)```", RUNBOOK, re.DOTALL)


@pytest.mark.parametrize("block", BLOCKS)
def test_a_shell_reads_every_command(block):
    assert subprocess.run(["bash", "-n"], input=block, text=True, capture_output=True).stderr == ""


def test_a_variable_in_a_command_is_set_before_it():
    given = {"C", "PWD", *re.findall(r"^(?:export )?(\w+)=", "\n".join(BLOCKS), re.MULTILINE)}
    example = (Path(__file__).parent.parent.parent / "infra" / "env.example").read_text()
    given |= set(re.findall(r"^(\w+)=", example, re.MULTILINE))
    assert {name for block in BLOCKS for name in re.findall(r"\$(\w+)", block)} <= given


@pytest.mark.lakefs
def test_the_keys_of_lakefs_are_rotated_as_it_says(tmp_path):
    script = next(block for block in BLOCKS if "create_credentials" in block)
    script = script.partition("<<'END'\n")[2].partition("\nEND")[0].replace("cv-assets", "admin")
    with Server(tmp_path / "server") as server:
        old = Connection(server.endpoint, server.access_key_id, server.secret_access_key, "cells", "")
        keys = {
            "LAKEFS_ENDPOINT": server.endpoint,
            "LAKECTL_CREDENTIALS_ACCESS_KEY_ID": server.access_key_id,
            "LAKECTL_CREDENTIALS_SECRET_ACCESS_KEY": server.secret_access_key,
        }
        ran = subprocess.run([sys.executable, "-c", script], env=keys, capture_output=True, text=True)
        assert ran.returncode == 0, ran.stderr
        printed = dict(re.findall(r"'(access_key_id|secret_access_key)': '([^']+)'", ran.stdout))
        new = Connection(server.endpoint, **printed, repository="cells", storage_namespace="")
        assert not exists(connect(new), new)
        os.kill(server.pid, signal.SIGKILL)
        os.waitid(os.P_PID, server.pid, os.WEXITED | os.WNOWAIT)
        server.keep_alive()
        assert not exists(connect(new), new)
        with pytest.raises(LakeError, match="refuses the keys"):
            exists(connect(old), old)
