// Socket.io clients with default transports (polling, then an upgrade to WebSocket): argv are the URL and the number of
// clients. Commands come as lines on standard input, and each is answered with one line of JSON:
//   upgraded   once every client is connected and on a WebSocket (or after 20 s): the state of each
//   echo       every client sends and waits for the answer: the state of each, with who answered
//   state      at once
const { io } = require('socket.io-client');
const [url, count] = [process.argv[2], Number(process.argv[3])];
const clients = [];
for (let i = 0; i < count; i++) {
  const address = `10.1.${Math.floor(i / 250)}.${(i % 250) + 1}`;
  const socket = io(url, { forceNew: true, reconnectionDelay: 200, reconnectionDelayMax: 500, extraHeaders: { 'x-forwarded-for': address } });
  const client = { socket, address, connects: 0, upgrades: 0, polled: false, server: null };
  socket.on('connect', () => client.connects++);
  socket.io.on('open', () => {
    const engine = socket.io.engine;
    client.polled ||= engine.transport.name === 'polling';
    engine.once('upgrade', () => client.upgrades++);
  });
  clients.push(client);
}
const transport = (c) => c.socket.connected && c.socket.io.engine ? c.socket.io.engine.transport.name : null;
const state = () => clients.map((c) => ({
  address: c.address, connected: c.socket.connected, transport: transport(c), polled: c.polled, connects: c.connects, upgrades: c.upgrades, server: c.server,
}));
const say = (value) => console.log(JSON.stringify(value));
const commands = {
  state: () => say(state()),
  upgraded: () => {
    const since = Date.now();
    const look = setInterval(() => {
      if (Date.now() - since > 20000 || clients.every((c) => transport(c) === 'websocket')) {
        clearInterval(look);
        say(state());
      }
    }, 20);
  },
  echo: async () => {
    await Promise.all(clients.map(async (c) => {
      c.server = null;
      try {
        const answer = await c.socket.timeout(5000).emitWithAck('echo', 'hello ' + c.address);
        if (answer.text === 'hello ' + c.address) c.server = answer.server;
      } catch { /* the state says so */ }
    }));
    say(state());
  },
};
require('readline').createInterface({ input: process.stdin }).on('line', (line) => commands[line]()).on('close', () => process.exit(0));
