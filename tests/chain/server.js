// A socket.io server, and a plain WebSocket server under /ws, on a port of the kernel's choice (or argv[3]).
// Prints the port; ends with its standard input.
const http = require('http');
const { Server } = require('socket.io');
const { WebSocketServer } = require('ws');
const name = process.argv[2];
const server = http.createServer((request, response) => response.end(`${name}: ${request.method} ${request.url}\n`));
const io = new Server(server, { destroyUpgrade: false });
io.on('connection', (socket) => socket.on('echo', (text, answer) => answer({ server: name, text })));
const ws = new WebSocketServer({ noServer: true });
server.on('upgrade', (request, socket, head) => {
  if (!request.url.startsWith('/ws')) return;
  ws.handleUpgrade(request, socket, head, (peer) => peer.on('message', (data, binary) => peer.send(data, { binary })));
});
server.listen(Number(process.argv[3] || 0), '127.0.0.1', () => console.log(server.address().port));
process.stdin.on('end', () => process.exit(0)).resume();
