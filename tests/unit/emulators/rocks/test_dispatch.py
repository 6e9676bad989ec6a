"""Words and arguments, exit statuses, host arguments."""

from __future__ import annotations

import pytest

from emulators.rocks.site import RocksSite


def test_an_argument_that_is_a_command_word_is_swallowed(cluster: RocksSite) -> None:
    assert cluster.call("list", "host", "vm").out.startswith("VM-HOST")
    assert cluster.call("list host", "vm").out == 'Error: cannot resolve host "vm"\n[host]...\n'


def test_the_appliance_vm_container_is_no_command(site: RocksSite) -> None:
    assert site.call("list", "host", "vm-container").out == site.call("list host", "vm-container").out


def test_unknown_words_end_with_255(site: RocksSite) -> None:
    ran = site.call("frobnicate", "all")
    assert (ran.status, ran.out) == (255, 'error - invalid rocks command "frobnicate"\n')


def test_an_incomplete_command_lists_its_completions(site: RocksSite) -> None:
    ran = site.call("set", "host")
    assert ran.status == 255
    assert "set host boot {host}... [action=string]" in ran.out.splitlines()


def test_an_empty_argument_crashes(site: RocksSite) -> None:
    ran = site.call("list host", "")
    assert (ran.status, ran.out, ran.err.splitlines()[0]) == (1, "", "Traceback (most recent call last):")


def test_unknown_parameters_are_ignored(cluster: RocksSite) -> None:
    assert "STATUS" not in cluster.call("list host vm", "stauts=1").out


@pytest.mark.parametrize("value", ["1", "y", "YES", "on", "True"])
def test_true_has_many_spellings(cluster: RocksSite, value: str) -> None:
    assert "STATUS" in cluster.call("list host vm", f"status={value}").out


def test_the_last_of_two_parameters_wins_and_order_is_free(cluster: RocksSite) -> None:
    assert "STATUS" in cluster.call("list host vm", "status=no", "status=1", "myvc").out


def test_trailing_arguments_may_be_parameters(cluster: RocksSite) -> None:
    assert cluster.call("set host cpus", "myvc", "cpus=3").status == 0
    assert cluster.call("set host cpus", "vm-myvc-0", "5").status == 0
    assert {node.name: node.cpus for node in cluster.state().nodes if node.vm} == {
        "myvc": 3,
        "vm-myvc-0": 5,
        "vm-myvc-1": 1,
    }


def test_a_forgotten_argument_is_missed_at_the_front(cluster: RocksSite) -> None:
    assert cluster.call("set host cpus", "myvc").out.startswith("Error: must supply host\n")


def test_a_number_that_is_none_crashes(cluster: RocksSite) -> None:
    ran = cluster.call("set host cpus", "myvc", "many")
    assert (ran.status, ran.err.splitlines()[-1]) == (1, "ValueError: invalid literal for int() with base 10: 'many'")


@pytest.mark.parametrize(
    "name", ["MYVC", "198.202.88.50", "c6:ca:58:80:00:00", "myvc.local", "myvc.example.org", "my%", "hosted-vm"]
)
def test_hosts_have_many_names(cluster: RocksSite, name: str) -> None:
    ran = cluster.call("list host boot", name)
    assert (ran.status, ran.out.splitlines()[0].strip() in ("ACTION", "HOST       ACTION")) == (0, True)
    assert "install" in ran.out


def test_localhost_is_the_physical_frontend(site: RocksSite) -> None:
    ran = site.call("report host attr", "localhost", "attr=Kickstart_PublicHostname")
    assert ran.out == "fiji.example.org\n"


def test_a_name_that_resolves_elsewhere_is_told_apart(site: RocksSite) -> None:
    with site.change() as state:
        state.dns["www.example.org"] = "192.0.2.1"
    assert 'Error: host "www.example.org" is not in cluster' in site.call("list host", "www.example.org").out
    assert 'Error: cannot resolve host "nosuch"' in site.call("list host", "nosuch").out


def test_json_of_a_command_without_header_crashes(site: RocksSite) -> None:
    assert site.call("report vm nextmac", "json=true").err.endswith("IndexError: list index out of range\n")


def test_help_prints_the_usage(site: RocksSite) -> None:
    assert site.call("list host", "help").status == 0


def test_acting_on_no_host_means_all(cluster: RocksSite) -> None:
    cluster.call("start host vm", "vm-myvc-0")
    ran = cluster.call("stop host vm")
    assert ran.status == 1
    assert cluster.state().domains == {"vm-container-0-0": {}}


def test_without_the_img_storage_roll_its_commands_are_not_there(cluster: RocksSite) -> None:
    with cluster.change() as state:
        state.img_storage = None
    ran = cluster.call("list host vm nas", "myvc")
    assert (ran.status, ran.out.startswith("error - invalid rocks command")) == (255, True)
    assert cluster.call("list", "host", "vm", "nas").out == ""  # VMs among the hosts of the appliance nas
