//! Prints the fields of messages and the values of enums, for whoever writes a ledger:
//! `cargo run -p nuncio-proto --example schema -- envoy.config.route.v3.Route`

use nuncio_proto::schema::{Enum, Message};

fn main() {
    for wanted in std::env::args().skip(1) {
        for message in Message::all().filter(|message| message.name() == wanted) {
            println!("{}", message.name());
            for field in message.fields() {
                let target = field.message().map(Message::name).or(field.enumeration().map(Enum::name));
                let list = if field.repeated() { "repeated " } else { "" };
                let kind = target.map_or_else(|| format!("{:?}", field.kind()).to_lowercase(), str::to_owned);
                println!("  {:?} {} {list}{kind}  {:?}", field.state(), field.name(), field.rules());
            }
        }
        for definition in Enum::all().filter(|definition| definition.name() == wanted) {
            let values: Vec<&str> = definition.values().map(|value| value.name()).collect();
            println!("{}: {}", definition.name(), values.join(" "));
        }
    }
}
