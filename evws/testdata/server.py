# A server by python's websockets that sends back what it gets. It prints its port, and ends with its input.
import asyncio, sys, websockets

async def echo(c, path=None):
    async for m in c:
        await c.send(m)

async def main():
    async with websockets.serve(echo, "127.0.0.1", 0, max_size=None) as s:
        print(s.sockets[0].getsockname()[1], flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)

asyncio.run(main())
