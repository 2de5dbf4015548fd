"""A JVM of ours is reached from this machine alone, and takes commands from this process alone.

Beam's gRPC servers and Flink's Prometheus reporter know a port and no host: they take the address that Java has for
"every interface". Java keeps that one in a field, which is set here, so that whatever listens from then on is reached
from this machine alone. A datagram socket without an address is held to this machine too: Kerberos must ask over TCP.

PyFlink opens the JVM to whoever on this machine connects to it. py4j knows a token for that, which it is given here.
"""

from __future__ import annotations

from secrets import token_urlsafe
from typing import Any

from py4j.protocol import Py4JJavaError

from core.errors import FreshetError

HERE = "127.0.0.1"


def listen_here_alone(jvm: Any) -> None:
    """Have what listens in the JVM from now on listen on 127.0.0.1, where no other address is set.

    Raises FreshetError where its Java doesn't let that be set.
    """
    try:
        # the implementation for the IP versions that the machine has; its field is filled when it is first asked for
        implementation = _field(jvm, "java.net.InetAddress", "impl").get(None)
        every = _field(jvm, implementation.getClass().getName(), "anyLocalAddress")
        every.set(implementation, jvm.java.net.InetAddress.getByName(HERE))
        listens_on = jvm.java.net.InetSocketAddress(0).getAddress().getHostAddress()
    except Py4JJavaError as error:
        listens_on = str(error.java_exception)
    if listens_on != HERE:
        version = jvm.java.lang.System.getProperty("java.version")
        raise FreshetError(
            f"Java {version} can't be held to {HERE} ({listens_on}): unset JAVA_HOME, so that the Java that comes with "
            "Freshet is taken, or set flink.taskmanager.bind-host to 0.0.0.0 to have the job listen on every interface"
        )


def obey_us_alone(gateway: Any) -> None:
    """Have the JVM behind a gateway refuse who connects from now on without a token that only this process has."""
    parameters = gateway.gateway_parameters
    if parameters.auth_token is None:
        token = token_urlsafe(32)
        server = gateway.java_gateway_server
        _field(gateway.jvm, server.getClass().getName(), "authToken").set(server, token)
        parameters.auth_token = token


def _field(jvm: Any, of: str, name: str) -> Any:
    found = jvm.java.lang.Class.forName(of).getDeclaredField(name)
    found.setAccessible(True)
    return found
