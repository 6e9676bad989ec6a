"""Signatures as the server makes them: vectors computed with its own classes (cloudstack.md a.3)."""

import pytest

from pragma_boot.driver.cloudstack import sign

KEY, SECRET = "PLgmJ6APIKEY", "VDaACYb0SECRET"
EXPIRES = "2030-01-02T03:04:05+0000"


def test_a_plain_request() -> None:
    sent = {"command": "listZones", "signatureversion": "3", "expires": EXPIRES, "apikey": KEY, "response": "json"}
    text = (
        "apikey=plgmj6apikey&command=listzones&expires=2030-01-02t03%3a04%3a05%2b0000&response=json&signatureversion=3"
    )
    assert sign.text_to_sign(sent) == text
    assert sign.signature(sent, SECRET) == "T67X9s0FSOKmUvc9WriDQTsj1e4="


def test_maps_letters_of_other_languages_and_what_urls_quote() -> None:
    sent = sign.flat(
        {
            "command": "deployVirtualMachine",
            "name": "vc1",
            "displayName": "My Cluster~1 *ü*",
            "startvm": False,
            "iptonetworklist": [{"networkid": "11111111-2222-3333-4444-555555555555", "ip": "10.1.1.10"}],
            "details": {"cpuNumber": 2},
            "userdata": "PHZjPjwvdmM+Cg==",
            "apikey": KEY,
            "response": "json",
        }
    )
    assert sign.text_to_sign(sent) == (
        "apikey=plgmj6apikey&command=deployvirtualmachine&details[0].cpunumber=2&displayname=my%20cluster%7e1%20*%c3%bc*"
        "&iptonetworklist[0].ip=10.1.1.10&iptonetworklist[0].networkid=11111111-2222-3333-4444-555555555555&name=vc1"
        "&response=json&startvm=false&userdata=phzjpjwvdmm%2bcg%3d%3d"
    )
    assert sign.signature(sent, SECRET) == "sP3CUUeaOnoWEU+LgKzPE02wtxQ="


def test_names_are_sorted_as_they_are_sent() -> None:
    sent = {"command": "listZones", "apiKey": KEY, "apizone": "x", "Zoneid": "abc"}
    assert sign.text_to_sign(sent) == "zoneid=abc&apikey=plgmj6apikey&apizone=x&command=listzones"
    assert sign.signature(sent, SECRET) == "8295cQOvjapJwM92uivH6DlAFT8="


def test_values_are_encoded_as_java_does() -> None:
    found = sign.encoded("a b*c~d/é+=&%[]:,;@!'()-_.")
    assert found == "a%20b*c%7Ed%2F%C3%A9%2B%3D%26%25%5B%5D%3A%2C%3B%40%21%27%28%29-_."


@pytest.mark.parametrize(
    ("value", "sent"),
    [
        (None, {}),
        (True, {"x": "true"}),
        (5, {"x": "5"}),
        (["a", "b"], {"x": "a,b"}),
        ([], {"x": ""}),
        ({"cpuNumber": 2, "memory": 512}, {"x[0].cpuNumber": "2", "x[0].memory": "512"}),
        ([{"key": "k", "value": "v"}, {"key": "l"}], {"x[0].key": "k", "x[0].value": "v", "x[1].key": "l"}),
    ],
)
def test_parameters_are_flattened_with_names_in_lower_case(value: sign.Value, sent: dict[str, str]) -> None:
    assert sign.flat({"X": value}) == sent


def test_a_body_holds_for_ten_minutes() -> None:
    body = sign.body({"name": "a b"}, "listZones", KEY, SECRET, now=1893553445.0).decode()
    assert "expires=2030-01-02T03%3A14%3A05%2B0000" in body
    assert "signatureversion=3" in body
    assert "name=a%20b" in body
