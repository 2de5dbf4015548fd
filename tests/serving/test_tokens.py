"""Tokens of another party: who is let in, to what, and that no claim shows more than the file says."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm
from pydantic import ValidationError

from core.errors import ConfigError
from core.stores.filters.language import EVERYTHING, parse
from serving.access import Defaults, charge, nobody
from serving.problems import Refused
from serving.tokens import Jwks, Tokens, by_tokens, check

COLUMNS = {"manuals": frozenset({"tenant", "lang"}), "tickets": frozenset({"tenant"})}
RSA, OTHER, EC = (
    rsa.generate_private_key(65537, 2048),
    rsa.generate_private_key(65537, 2048),
    ec.generate_private_key(ec.SECP256R1()),
)
SETTINGS: dict[str, Any] = {
    "jwks": "jwks.json", "issuer": "https://login.example", "audience": "freshet",
    "indexes": ["manuals", "{freshet_indexes}"], "filter": {"tenant": "{org}"},
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("jwks")
    keys = [
        {**RSAAlgorithm.to_jwk(RSA.public_key(), as_dict=True), "kid": "rsa"},
        {**ECAlgorithm.to_jwk(EC.public_key(), as_dict=True), "kid": "ec"},
        {"kty": "oct", "k": "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LXNlY3JldA", "kid": "secret"},
    ]
    (made / "jwks.json").write_text(json.dumps({"keys": keys}))
    return made


def token(key: Any = RSA, algorithm: str = "RS256", kid: str = "rsa", **claims: Any) -> str:
    usual = {
        "iss": "https://login.example", "aud": "freshet", "exp": time.time() + 60, "sub": "kari", "org": "acme",
        "freshet_indexes": ["tickets", "secrets"],
    }  # fmt: skip
    said = {name: value for name, value in {**usual, **claims}.items() if value is not None}
    return "Bearer " + jwt.encode(said, key, algorithm, headers={"kid": kid})


def let_in(folder: Path, **more: Any) -> Any:
    tokens = Tokens.model_validate({**SETTINGS, **more})
    return by_tokens(tokens, Jwks(tokens.jwks, folder), COLUMNS, frozenset({"tenant"}), nobody)


def test_claims_become_indexes_and_a_filter(folder: Path) -> None:
    grant = let_in(folder)(token())
    assert set(grant.indexes) == {"manuals", "tickets"}
    assert grant.indexes["manuals"] == parse({"tenant": "acme"}, COLUMNS["manuals"])
    assert grant.people is None and not grant.figures
    assert let_in(folder)(token(EC, "ES256", "ec")).indexes.keys() == grant.indexes.keys()


def test_a_list_of_values_is_one_behind_in(folder: Path) -> None:
    grant = let_in(folder, filter={"tenant": {"in": "{orgs}"}})(token(orgs=["acme", "beta"]))
    assert grant.indexes["tickets"] == parse({"tenant": {"in": ["acme", "beta"]}}, COLUMNS["tickets"])


@pytest.mark.parametrize(
    "org", [{"exists": True}, ["acme", "beta"], [], {"in": []}, None, [{"exists": False}]], ids=json.dumps
)
def test_no_claim_widens_the_filter(folder: Path, org: Any) -> None:
    with pytest.raises(Refused) as refused:
        let_in(folder)(token(org=org))
    assert refused.value.status == 403


def test_no_element_of_a_list_is_more_than_a_value(folder: Path) -> None:
    with pytest.raises(Refused, match="text, number or boolean"):
        let_in(folder, filter={"tenant": {"in": "{org}"}})(token(org=["acme", {"exists": False}]))


def test_a_claim_that_looks_like_another_is_a_value(folder: Path) -> None:
    grant = let_in(folder)(token(org="{sub}"))
    assert grant.indexes["tickets"] == parse({"tenant": "{sub}"}, COLUMNS["tickets"]) != EVERYTHING


def test_a_token_says_whose_questions_they_are(folder: Path) -> None:
    ask = let_in(folder, customer="email/{email}")
    grant = ask(token(email="kari@x.no"))
    assert (grant.name, grant.defaults) == ("kari", Defaults("email/kari@x.no"))
    # what stands before the claim says of which type it is, whatever the claim is
    assert ask(token(email="record/{org}")).defaults.customer == "email/record/{org}"
    assert [ask(token(**more)).defaults.customer for more in ({}, {"email": True}, {"email": ["a"]})] == [None] * 3


NOBODYS: dict[str, dict[str, Any]] = {
    "expired": {"exp": time.time() - 3600},
    "of another issuer": {"iss": "https://evil.example"},
    "for another audience": {"aud": "shop"},
    "without an end": {"exp": None},
    "without an audience": {"aud": None},
    "signed by another key": {"key": OTHER},
    "of a key that isn't shown": {"key": OTHER, "kid": "other"},
    "not yet valid": {"nbf": time.time() + 3600},
    "signed with a shared secret": {
        "key": b"secret-secret-secret-secret-secret", "algorithm": "HS256", "kid": "secret",
    },
    "signed with the public key as a secret": {
        "key": b"public" * 8, "algorithm": "HS256", "kid": "rsa",
    },
}  # fmt: skip


@pytest.mark.parametrize("kind", NOBODYS)
def test_it_lets_nobody_in(folder: Path, kind: str) -> None:
    with pytest.raises(Refused) as refused:
        let_in(folder)(token(**NOBODYS[kind]))
    assert refused.value.status == 401


@pytest.mark.parametrize("sent", ["", "Bearer ", "Bearer a.b.c", "Bearer ..", "Basic a.b.c", "Bearer fsk_abc"])
def test_what_is_no_token_lets_nobody_in(folder: Path, sent: str) -> None:
    with pytest.raises(Refused) as refused:
        let_in(folder)(sent)
    assert refused.value.status == 401


def test_an_unsigned_token_lets_nobody_in(folder: Path) -> None:
    body = token().removeprefix("Bearer ").split(".")[1]
    head = jwt.utils.base64url_encode(b'{"alg":"none","kid":"rsa"}').decode()
    with pytest.raises(Refused):
        let_in(folder)(f"Bearer {head}.{body}.")


def test_a_subject_that_asks_too_often_waits_and_others_do_not(folder: Path) -> None:
    ask = let_in(folder, per_minute=1)
    charge(ask(token()))
    with pytest.raises(Refused) as refused:
        charge(ask(token()))
    assert refused.value.status == 429
    charge(ask(token(sub="ola")))


@pytest.mark.parametrize(
    ("more", "wrong"),
    [
        ({"indexes": ["nope"]}, "tokens.indexes names nope, which isn't served"),
        ({"filter": {"langg": "{lang}"}}, "langg"),
        ({"filter": {"tenant": {"near": "{org}"}}}, "near"),
        ({"filter": {"not": {"tenant": {"in": ["x", "team-{org}"]}}}}, "tokens.filter has the text 'team-{org}'"),
    ],
)
def test_what_does_not_fit_what_is_served_is_named(more: dict[str, Any], wrong: str) -> None:
    (problem,) = check(Tokens.model_validate({**SETTINGS, "indexes": ["manuals"], **more}), COLUMNS, frozenset())
    assert wrong in problem


def test_keys_that_verify_are_not_taken_from_anywhere(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="must come by https"):
        Tokens.model_validate({**SETTINGS, "jwks": "http://login.example/jwks.json"})
    with pytest.raises(ConfigError, match="can't be read"):
        Jwks("none.json", tmp_path)
    for bad in ('{"keys": []}', "[" * 100_000):
        (tmp_path / "bad.json").write_text(bad)
        with pytest.raises(ConfigError, match="is no JSON Web Key Set"):
            Jwks("bad.json", tmp_path)
