"""Signatures, parameters, envelopes and pages as the server has them (contract a.1 to a.7; e.4 points 1 to 4)."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlencode

import pytest

from fakes.cloudstack import USER, Client, Cloud, Config, Credentials, Refused, serving
from fakes.cloudstack.client import opened
from fakes.cloudstack.cloud import Answer
from fakes.cloudstack.scene import Scene
from fakes.cloudstack.wire import encode, sign, text_to_sign

SECRET, KEY = "VDaACYb0SECRET", "PLgmJ6APIKEY"
VECTORS = [
    (
        {"command": "listZones", "signatureversion": "3", "expires": "2030-01-02T03:04:05+0000", "apikey": KEY}
        | {"response": "json"},
        "apikey=plgmj6apikey&command=listzones&expires=2030-01-02t03%3a04%3a05%2b0000&response=json&signatureversion=3",
        "T67X9s0FSOKmUvc9WriDQTsj1e4=",
    ),
    (
        {
            "command": "deployVirtualMachine",
            "name": "vc1",
            "displayname": "My Cluster~1 *ü*",
            "startvm": "false",
            "iptonetworklist[0].networkid": "11111111-2222-3333-4444-555555555555",
            "iptonetworklist[0].ip": "10.1.1.10",
            "details[0].cpuNumber": "2",
            "userdata": "PHZjPjwvdmM+Cg==",
            "apikey": KEY,
            "response": "json",
        },
        "apikey=plgmj6apikey&command=deployvirtualmachine&details[0].cpunumber=2&displayname=my%20cluster%7e1%20*%c3%bc*"
        "&iptonetworklist[0].ip=10.1.1.10&iptonetworklist[0].networkid=11111111-2222-3333-4444-555555555555&name=vc1"
        "&response=json&startvm=false&userdata=phzjpjwvdmm%2bcg%3d%3d",
        "sP3CUUeaOnoWEU+LgKzPE02wtxQ=",
    ),
    (
        {"command": "listZones", "apiKey": KEY, "apizone": "x", "Zoneid": "abc"},
        "zoneid=abc&apikey=plgmj6apikey&apizone=x&command=listzones",
        "8295cQOvjapJwM92uivH6DlAFT8=",
    ),
]


def refused(answer: Answer) -> Refused:
    with pytest.raises(Refused) as caught:
        opened(answer)
    return caught.value


@pytest.mark.parametrize(("params", "text", "signature"), VECTORS)
def test_signatures_are_the_servers(params: dict[str, str], text: str, signature: str) -> None:
    assert text_to_sign(params.items()) == text
    assert sign(params.items(), SECRET) == signature


def test_values_are_escaped_as_java_does() -> None:
    assert encode("a b*c~d/é+=&%[]:,;@!'()-_.") == "a%20b*c%7Ed%2F%C3%A9%2B%3D%26%25%5B%5D%3A%2C%3B%40%21%27%28%29-_."


def test_a_wrong_signature_an_unknown_key_and_an_unknown_command_look_the_same(scene: Scene) -> None:
    wrong = Client(scene.cloud, Credentials(USER.apikey, "other"))
    nobody = Client(scene.cloud, Credentials("nobody", USER.secretkey))
    seen = [refused(wrong.send("listZones")), refused(nobody.send("listZones")), refused(scene.user.send("listzones"))]
    assert {(one.code, one.text, one.cserror) for one in seen} == {
        (401, "unable to verify user credentials and/or request signature", None)
    }
    assert [one.key for one in seen] == ["listzonesresponse", "listzonesresponse", "errorresponse"]


def test_a_signature_of_version_3_needs_a_date_that_is_not_past(scene: Scene) -> None:
    def sent(**changes: str | None) -> Answer:
        pairs = {name: value for name, value in scene.user.signed("listZones") if name != "signature"}
        kept = {name: value for name, value in (pairs | changes).items() if value is not None}
        return scene.user.raw([*kept.items(), ("signature", sign(kept.items(), USER.secretkey))])

    assert sent(expires="2030-01-02T03:04:05+00:00").status == 200
    assert sent(expires="2030-01-02T03:04:05Z").status == 200
    assert sent(expires="2030-01-02T03:04:05.123456+0000").status == 200
    assert sent(signatureversion=None, expires=None).status == 200
    assert [sent(expires=bad).status for bad in ("2020-01-02T03:04:05+0000", "soon", None)] == [401, 401, 401]


def test_a_disabled_account_is_out(scene: Scene) -> None:
    scene.cloud.account("user").enabled = False
    assert refused(scene.user.send("listZones")).code == 401


def test_get_and_post_are_the_same_and_the_query_wins(scene: Scene) -> None:
    by_get = Client(scene.cloud, method="GET")
    assert by_get.ok("listZones", name="zone1") == scene.user.ok("listZones", name="zone1")
    pairs = scene.user.signed("listZones", name="zone1")
    answer = scene.cloud.request("POST", "/client/api?name=zone2", urlencode(pairs).encode())
    assert refused(answer).code == 401  # what was signed is not what is asked


def test_names_have_no_case_but_commands_have(scene: Scene) -> None:
    assert scene.user.ok("listZones", NAME="zone1")["count"] == 1


def test_an_enforcing_server_wants_posts_and_dates() -> None:
    cloud = Cloud(config=Config(enforce_post_and_timestamps=True))
    by_get, by_post = Client(cloud, method="GET"), Client(cloud)
    error = refused(by_get.send("deleteNetwork", id="x"))
    assert (error.code, error.text) == (400, "State changing command deleteNetwork needs to be sent using POST request")
    assert by_get.ok("listZones") and by_post.ok("listZones")
    plain = [("command", "listZones"), ("apikey", USER.apikey), ("response", "json")]
    assert refused(by_post.raw([*plain, ("signature", sign(plain, USER.secretkey))])).code == 401


@pytest.mark.parametrize(
    ("given", "code", "text"),
    [
        ({"name": "a\tb"}, 431, "Received value containing illegal ASCII non-printable characters for parameter name"),
        ({"name": "x" * 256}, 431, "Value greater than max allowed length 255 for param: name"),
        ({"tags[0]key": "a"}, 430, "Unable to decode parameter tags[0]key; if specifying an object array"),
        ({"tags[a].key": "a"}, 430, "Unable to decode parameter tags[a].key"),
        ({"networkofferingid": "no-such"}, 431, "Invalid parameter networkofferingid value=no-such due to incorrect"),
        ({"name": ""}, 431, "due to invalid value. Invalid value provided for API arg: name"),
    ],
)
def test_bad_parameters(scene: Scene, given: dict[str, str], code: int, text: str) -> None:
    whole = {
        "name": "a",
        "networkofferingid": scene.id("network_offerings", "L2"),
        "zoneid": scene.id("zones", "zone1"),
    }
    error = refused(scene.user.send("createNetwork", **(whole | given)))
    assert error.code == code
    assert text in error.text


def test_lines_may_end_and_a_missing_parameter_is_named(scene: Scene) -> None:
    error = refused(scene.user.send("createNetwork", name="a\nb"))
    assert error.text == "Unable to execute API command createnetwork due to missing parameter networkofferingid"
    assert error.cserror == 4350


def test_user_data_by_get_is_short(scene: Scene) -> None:
    network = scene.network()
    by_get = Client(scene.cloud, method="GET")
    error = refused(by_get.send("deployVirtualMachine", **scene.wanted("vc1", network, userdata="QUJD" * 1025)))
    assert error.text == "User data is too long for http GET request"


def test_lists_and_pages(scene: Scene) -> None:
    user = scene.user
    assert user.ok("listVirtualMachines") == {}
    assert user.ok("listServiceOfferings", page=2, pagesize=3)["count"] == 5
    assert [one["name"] for one in user.ok("listServiceOfferings", page=2, pagesize=3)["serviceoffering"]] == [
        "CustomConstrained",
        "Custom",
    ]
    assert user.ok("listServiceOfferings", page=9, pagesize=3) == {"count": 5}
    assert user.ok("listServiceOfferings", pagesize=-1)["count"] == 5
    for params, text in (
        ({"pagesize": 3}, '"page" parameter is required when "pagesize" is specified'),
        ({"page": 1}, '"pagesize" parameter is required when "page" is specified'),
        ({"page": 1, "pagesize": 501}, "Page size can't exceed max allowed page size value: 500"),
        ({"page": 1, "pagesize": -1}, "Can't specify page parameter when pagesize is -1 (Unlimited)"),
    ):
        assert refused(user.send("listServiceOfferings", **params)).text == text


def test_a_list_without_pages_ends_at_the_servers_page_size() -> None:
    user = Client(Cloud(config=Config(default_page_size=2)))
    found = user.ok("listServiceOfferings")
    assert (found["count"], len(found["serviceoffering"])) == (5, 2)


def test_nulls_are_left_out_and_nics_come_in_any_order(scene: Scene) -> None:
    networks = [scene.network(f"n{number}", f"10.5.{number}.1") for number in range(3)]
    scene.machine("vc1", *networks)
    orders = set()
    for _ in range(20):
        (row,) = scene.user.ok("listVirtualMachines")["virtualmachine"]
        assert "broadcasturi" not in row["nic"][0]
        assert None not in row.values()
        orders.add(tuple(nic["deviceid"] for nic in row["nic"]))
    assert len(orders) > 1


def test_ports_of_forwardings_are_words_and_of_firewalls_numbers(scene: Scene) -> None:
    network = scene.network()
    machine, address = scene.machine("vc1", network), scene.address(network)
    scene.user.done(
        "createPortForwardingRule",
        ipaddressid=address["id"],
        protocol="tcp",
        publicport=22,
        privateport=22,
        virtualmachineid=machine["id"],
    )
    (rule,) = scene.user.ok("listPortForwardingRules", ipaddressid=address["id"])["portforwardingrule"]
    (wall,) = scene.user.ok("listFirewallRules", ipaddressid=address["id"])["firewallrule"]
    assert (rule["publicport"], rule["privateendport"]) == ("22", "22")
    assert (wall["startport"], wall["endport"], wall["cidrlist"]) == (22, 22, "0.0.0.0/0")


def test_errors_carry_their_code_three_times(scene: Scene) -> None:
    answer = scene.user.send("listVirtualMachines", ids="a", id="b")
    body: dict[str, Any] = json.loads(answer.body)
    inner = body["listvirtualmachinesresponse"]
    assert (answer.status, inner["errorcode"], inner["cserrorcode"], inner["uuidList"]) == (431, 431, 4350, [])
    assert answer.headers["X-Description"] == inner["errortext"]


def test_success_may_be_a_word_and_texts_are_not_escaped() -> None:
    user = Client(Cloud(config=Config(success_in_words=True)))
    made = user.ok("registerUserData", name="Größe", userdata="QUJD")["userdata"]
    assert user.ok("deleteUserData", id=made["id"]) == {"success": "true"}
    assert "Größe".encode() in user.send("registerUserData", name="Größe", userdata="QUJD").body


def test_a_limit_of_calls(scene: Scene) -> None:
    scene.cloud.config.api_limit = 2
    scene.user.ok("listZones")
    scene.user.ok("listZones")
    error = refused(scene.user.send("listZones"))
    assert error.code == 429
    assert error.text.endswith("please retry after [1000] ms.")
    scene.cloud.advance(1)
    scene.user.ok("listZones")


def test_what_belongs_to_others_is_not_listed_and_not_touched(scene: Scene) -> None:
    foreign = scene.cloud.machine("vc1x")
    assert scene.user.ok("listVirtualMachines", listall=True) == {}
    assert scene.admin.ok("listVirtualMachines") == {}
    assert scene.admin.ok("listVirtualMachines", listall=True)["count"] == 1
    error = refused(scene.user.send("destroyVirtualMachine", id=foreign.id))
    assert (error.code, error.cserror) == (531, 4365)


def test_secrets_are_not_logged(scene: Scene) -> None:
    scene.user.send("deployVirtualMachine", userdata="c2VjcmV0")
    params = scene.cloud.log[-1].params
    assert {params[name] for name in ("apikey", "signature", "userdata")} == {"***"}


def test_strict_clouds_tell_misspelt_parameters() -> None:
    cloud = Cloud()
    Client(cloud).ok("listZones", nmae="zone1")
    with pytest.raises(AssertionError, match="listZones has no parameter nmae"):
        cloud.check()
    with pytest.raises(AssertionError, match="nmae"), serving(cloud):
        pass
    lax = Cloud(strict=False)
    assert Client(lax).ok("listZones", nmae="zone1")["count"] == 2
    lax.check()
