// One echo over a plain WebSocket by `ws`: text and a large binary message. Prints `ok`.
const WebSocket = require('ws');
const peer = new WebSocket(process.argv[2]);
const large = Buffer.alloc(300000, 7);
peer.on('open', () => peer.send('hello'));
peer.on('message', (data, binary) => {
  if (!binary) return peer.send(large);
  console.log(data.equals(large) ? 'ok' : 'other bytes');
  peer.close();
});
peer.on('error', (error) => console.log(String(error)));
