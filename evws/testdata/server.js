// A server by node's ws that sends back what it gets. It prints its port, and ends with its input.
const {WebSocketServer} = require("ws");
const s = new WebSocketServer({port: 0, host: "127.0.0.1", perMessageDeflate: {threshold: 1}, maxPayload: 1 << 24});
s.on("listening", () => console.log(s.address().port));
s.on("connection", (c) => c.on("message", (data, binary) => c.send(data, {binary})));
process.stdin.resume();
process.stdin.on("end", () => process.exit(0));
