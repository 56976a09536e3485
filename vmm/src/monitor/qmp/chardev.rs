//! The commands about character devices.

use devices::chardev::{BackendConfig, ChardevConfig};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Arguments, Context, Outcome};
use crate::config::VirtioKind;

pub fn query(cx: &mut Context<'_>, args: Arguments) -> Outcome {
    args.none()?;
    let config = cx.machine.config();
    let used = |id: &str| {
        let virtio = config.virtio.iter().any(|v| match &v.kind {
            VirtioKind::Console(console) => console.ports.iter().any(|port| port.chardev == id),
            _ => false,
        });
        let semihosting = config.semihosting.as_ref().and_then(|s| s.chardev.as_deref());
        virtio
            || config.serial.as_deref() == Some(id)
            || semihosting == Some(id)
            || config.monitors.iter().any(|m| m.chardev == id)
    };
    let info = |c: &ChardevConfig| {
        let far_end = cx.machine.chardev(&c.id).far_end();
        json!({ "label": c.id, "filename": far_end, "frontend-open": used(&c.id) })
    };
    Ok(config.chardevs.iter().map(info).collect())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RingRead {
    device: String,
    size: usize,
    #[serde(default)]
    format: DataFormat,
}

#[derive(Deserialize, Default, Clone, Copy)]
#[serde(rename_all = "lowercase")]
enum DataFormat {
    #[default]
    Utf8,
    Base64,
}

pub fn ringbuf_read(cx: &mut Context<'_>, args: Arguments) -> Outcome {
    let RingRead { device, size, format } = args.take()?;
    let config = cx.machine.config().chardevs.iter().find(|c| c.id == device);
    let config = config.ok_or_else(|| format!("Device '{device}' not found"))?;
    if !matches!(config.backend, BackendConfig::RingBuf { .. }) {
        return Err(format!("{device} is not a ringbuf device").into());
    }
    if size == 0 {
        return Err("size must be greater than zero".to_owned().into());
    }
    let bytes = cx.machine.chardev(&device).read_ring(size);
    Ok(Value::String(match format {
        DataFormat::Utf8 => String::from_utf8_lossy(&bytes).into_owned(),
        DataFormat::Base64 => base64(&bytes),
    }))
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let four = |three: &[u8]| {
        let bits = three.iter().fold(0, |bits, byte| bits << 8 | usize::from(*byte)) << (8 * (3 - three.len()));
        let digits = three.len() + 1;
        let digit = move |i: usize| if i < digits { DIGITS[bits >> (18 - 6 * i) & 63].into() } else { '=' };
        (0..4).map(digit).collect::<String>()
    };
    bytes.chunks(3).map(four).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_that_of_rfc_4648() {
        let texts = ["", "f", "fo", "foo", "foob", "fooba", "foobar"].map(|text| base64(text.as_bytes()));
        assert_eq!(texts, ["", "Zg==", "Zm8=", "Zm9v", "Zm9vYg==", "Zm9vYmE=", "Zm9vYmFy"]);
        assert_eq!(base64(&[0xfb, 0xff, 0xfe]), "+//+");
    }
}
