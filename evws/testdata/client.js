// A client by node's ws: it sends the bodies, gets each back, and closes. Arguments: URL.
const WebSocket = require("ws");
const c = new WebSocket(process.argv[2], ["b"], {perMessageDeflate: {threshold: 1}});
const bodies = ["", "a", "x".repeat(126), "hello κόσμε ".repeat(5000), "z".repeat(1 << 19)];
let at = 0;
c.on("open", () => c.ping("p"));
c.on("pong", (p) => { if (String(p) !== "p") throw new Error("pong " + p); c.send(bodies[0]) });
c.on("message", (data, binary) => {
	if (binary || String(data) !== bodies[at]) throw new Error("body " + at);
	if (++at < bodies.length) c.send(bodies[at], {}); else c.close(4003, "done");
});
c.on("close", (code) => {
	console.log(code, c.protocol, c.extensions);
	process.exit(0);
});
