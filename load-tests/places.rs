//! Writes a GeoIP database of places that are nowhere, as large as a real one's city part or larger.
//!
//! ```text
//! cargo run --release --example places -- FILE NETWORKS
//! ```

use std::net::Ipv4Addr;
use std::process::ExitCode;

use ipnet::Ipv4Net;
use mmdb_writer::{Value, Writer};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [file, networks] = arguments.as_slice() else {
        eprintln!("usage: places FILE NETWORKS");
        return ExitCode::from(2);
    };
    let networks: u32 = networks.parse().expect("a number of networks");
    let mut writer = Writer::builder("GeoLite2-City").description(&[("en", "nowhere")]).build();
    for number in 0..networks {
        // From 11.0.0.0 on: nothing below is reserved, up to 126.255.255.0.
        let address = Ipv4Addr::from_bits((11 << 24) + (number << 8));
        let network = Ipv4Net::new(address, 24).expect("24 is a prefix length");
        let city = format!("City {}", number % 50_000);
        let row = Value::map([
            ("city", Value::map([("names", Value::map([("en", Value::from(city.as_str()))]))])),
            ("country", Value::map([("iso_code", Value::from("DE"))])),
            ("location", Value::map([("time_zone", Value::from("Europe/Berlin"))])),
        ]);
        writer.insert_value(network, row).expect("networks that do not overlap");
    }
    let bytes = writer.to_bytes().expect("so many networks fit");
    // Whoever watches the file never sees half of it.
    let beside = format!("{file}.new");
    std::fs::write(&beside, bytes).and_then(|()| std::fs::rename(&beside, file)).expect("a file that can be written");
    ExitCode::SUCCESS
}
