"""A name server as a container engine has it: names of services lead to their addresses."""

from __future__ import annotations

import socket
import threading
from collections.abc import Mapping

import dns.flags
import dns.message
import dns.rcode
import dns.rrset

SERVER = "127.0.0.11"
_TTL_S = 1
_LARGEST = 4_096


def address(number: int) -> str:
    """The address of the service of that number; each has one of its own on the machine itself."""
    return f"127.0.1.{number}"


def serve(addresses: Mapping[str, str]) -> None:
    """Answer for these names on SERVER's port 53, for as long as this process lives."""
    listening = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    listening.bind((SERVER, 53))

    def answer() -> None:
        while True:
            asked, whence = listening.recvfrom(_LARGEST)
            listening.sendto(answered(asked, addresses), whence)

    threading.Thread(target=answer, daemon=True).start()


def answered(asked: bytes, addresses: Mapping[str, str]) -> bytes:
    """The answer to a question: a name's address; that there is no such name; or no record of another kind."""
    question = dns.message.from_wire(asked)
    answer = dns.message.make_response(question)
    answer.flags |= dns.flags.AA | dns.flags.RA
    name = question.question[0].name
    found = addresses.get(name.to_text(omit_final_dot=True).lower())
    if found is None:
        answer.set_rcode(dns.rcode.NXDOMAIN)
    elif question.question[0].rdtype == dns.rdatatype.A:
        answer.answer.append(dns.rrset.from_text(name, _TTL_S, "IN", "A", found))
    return answer.to_wire()
