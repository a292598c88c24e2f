"""PyJWT and joserfc as judges of tokens. Exits 0 when both agree with what is expected.

judge.py tokens LIST                   each line: keys (a set, or a secret), algorithm, token, good; `iss` me, `aud` you
judge.py forgeries FILE ALGORITHM LIST   the good ones of the list verify; those that one of the two takes are named
"""

import json
import sys

import jwt
from joserfc import jwk as jose_keys
from joserfc import jwt as jose
from joserfc.jws import JWSRegistry

CLAIMS = {"iss": "me", "aud": "you", "sub": "alice"}


def by_pyjwt(token, keys, algorithm):
    """The claims, checked by PyJWT."""
    if isinstance(keys, str):
        key = keys
    else:
        kid = jwt.get_unverified_header(token).get("kid")
        key = {key.key_id: key.key for key in jwt.PyJWKSet.from_dict(keys).keys}[kid]
    options = {"require": ["exp", "iss", "aud"]}
    return jwt.decode(token, key, algorithms=[algorithm], issuer="me", audience="you", options=options)


def by_joserfc(token, keys, algorithm):
    """The claims, checked by joserfc."""
    key = jose_keys.OctKey.import_key(keys) if isinstance(keys, str) else jose_keys.KeySet.import_key_set(keys)
    # Members that nobody knows are to be ignored (RFC 7515 section 4).
    read = jose.decode(token, key, registry=JWSRegistry(algorithms=[algorithm], strict_check_header=False))
    wanted = {"iss": {"essential": True, "value": "me"}, "aud": {"essential": True, "value": "you"}}
    jose.JWTClaimsRegistry(exp={"essential": True}, **wanted).validate(read.claims)
    return read.claims


JUDGES = {"PyJWT": by_pyjwt, "joserfc": by_joserfc}


def takes(judge, *arguments):
    """Whether a judge takes a token, and why not."""
    try:
        return judge(*arguments), None
    except Exception as error:  # Whatever it raises, the token has not passed.
        return None, f"{type(error).__name__}: {error}"


def tokens(path):
    with open(path, encoding="utf-8") as lines:
        for job in map(json.loads, lines):
            for name, judge in JUDGES.items():
                claims, error = takes(judge, job["token"], job["keys"], job["algorithm"])
                if (claims is not None) != job["good"]:
                    sys.exit(f"{name}, {job['algorithm']}: {error or 'a token of another key is taken'}")
                if claims and (any(claims[claim] != value for claim, value in CLAIMS.items()) or claims["n"] != {"a": 1}):
                    sys.exit(f"{name}, {job['algorithm']}: other claims: {claims}")


def forgeries(path_of_keys, algorithm, path):
    passed = []
    with open(path_of_keys, encoding="utf-8") as file:
        keys = json.load(file)
    with open(path, encoding="utf-8") as lines:
        for attempt in map(json.loads, lines):
            taken = {name: takes(judge, attempt["token"], keys, algorithm) for name, judge in JUDGES.items()}
            by = [name for name, (claims, _) in taken.items() if claims is not None]
            if attempt["expect"] == "accept" and len(by) < len(JUDGES):
                sys.exit(f"{attempt['name']} is good, and only {by} take it: {taken}")
            if attempt["expect"] == "refuse" and len(by) == len(JUDGES):
                sys.exit(f"{attempt['name']} is a forgery, and both take it")
            if attempt["expect"] == "refuse" and by:
                passed.append(f"{attempt['name']} ({', '.join(by)})")
    print("taken by one of the two:", ", ".join(passed) or "none")


{"tokens": tokens, "forgeries": forgeries}[sys.argv[1]](*sys.argv[2:])
