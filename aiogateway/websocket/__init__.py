"""WebSockets (RFC 6455): `handshake` says who may have one, `relay` moves the bytes, `frames` says where frames
end, and `closes` why sockets do."""
