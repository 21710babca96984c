# A client by python's websockets: it sends the bodies, gets each back, and closes. Arguments: URL.
import asyncio, sys, websockets

async def main():
    bodies = ["", "a", "x" * 126, "hello κόσμε " * 5000, b"z" * (1 << 19), "in pieces"]
    async with websockets.connect(sys.argv[1], subprotocols=["b"], max_size=None) as c:
        await asyncio.wait_for(await c.ping(b"p"), 10)
        for body in bodies:
            await c.send([body[:2], body[2:]] if body == "in pieces" else body)
            got = await c.recv()
            assert got == body, (len(got), len(body))
        await c.close(4003, "done")
        print(c.close_code, c.subprotocol, ",".join(e.name for e in c.extensions))

asyncio.run(main())
