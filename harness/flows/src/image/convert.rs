//! Staging an image for one write: fetch, checksum, conversion where a converter exists, and removal afterwards.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use sanbench_api::{ImageId, VolumeId};
use sanbench_world::{Command, Env, ExecError, Fault};
use sha2::{Digest, Sha256};
use tokio::sync::OnceCell;

use crate::config::Converter;

use super::inspect::inspect_with;
use super::{Format, Image, ImageBytes, ImageError, ImageReader, Inspected, MAX_CHUNK};

/// Time limit of one conversion.
const CONVERT_LIMIT: Duration = Duration::from_secs(1800);
/// Bound of what a converter may print, in bytes.
const MAX_OUTPUT: usize = 1 << 20;

/// A staged image; dropped, it leaves its files, so the flow disposes of it by name.
#[derive(Debug)]
pub(crate) struct Staged {
    pub(crate) bytes: ImageBytes,
    pub(crate) inspected: Option<Inspected>,
    /// The converted content, when the converter made it.
    raw: Option<ImageBytes>,
}

impl Staged {
    /// Virtual size in bytes, once inspected (and converted, for formats that only then tell).
    pub(crate) fn virtual_size(&self) -> Option<u64> {
        match &self.raw {
            Some(raw) => Some(raw.len()),
            None => self.inspected.as_ref().and_then(|i| i.virtual_size),
        }
    }

    pub(crate) fn reader(&self) -> Result<ImageReader, ImageError> {
        let inspected = self.inspected.as_ref().ok_or_else(|| ImageError::Read("not inspected".into()))?;
        match &self.raw {
            Some(raw) => {
                let as_it_is = Inspected { format: Format::Raw, virtual_size: Some(raw.len()), qcow2: None };
                ImageReader::open(raw, &as_it_is)
            }
            None => ImageReader::open(&self.bytes, inspected),
        }
    }
}

/// The conversion directory and the converter of this node.
#[derive(Debug)]
pub(crate) struct ImageWork {
    env: Env,
    when: Converter,
    converter: OnceCell<bool>,
}

impl ImageWork {
    pub(crate) fn new(env: Env, when: Converter) -> Self {
        Self { env, when, converter: OnceCell::new() }
    }

    /// Name under which everything staged for this volume is kept and recorded.
    pub(crate) fn temp_name(image: ImageId, volume: VolumeId) -> String {
        format!("image_download_{image}_{volume}")
    }

    fn path(&self, name: &str) -> Option<PathBuf> {
        self.env.disk().directory().map(|d| d.join("conversion").join(name))
    }

    /// Opens the image and checks its sum. Fault point `image.read`: `Fail` stops the stream, `DropReply` cuts it.
    ///
    /// `checksum_ignored` is the planted defect D48.
    pub(crate) async fn fetch(
        &self,
        image: &Arc<Image>,
        checksum_ignored: bool,
    ) -> Result<Staged, ImageError> {
        let mut bytes = image.open()?;
        match self.env.fault("image.read") {
            Some(Fault::Fail | Fault::CrashNode | Fault::Answer(_) | Fault::Message(_)) => {
                return Err(ImageError::Read("stream broke".into()));
            }
            Some(Fault::Delay(d)) => self.env.sleep(d).await,
            Some(Fault::DropReply) => {
                if let ImageBytes::Memory(all) = &bytes {
                    bytes = ImageBytes::Memory(all.slice(..all.len() / 2));
                } else {
                    return Err(ImageError::Read("stream ended early".into()));
                }
            }
            None => {}
        }
        if let Some(sum) = image.sha256.filter(|_| !checksum_ignored) {
            let mut hash = Sha256::new();
            let mut at = 0;
            while at < bytes.len() {
                let len = usize::try_from(MAX_CHUNK.min(bytes.len() - at)).unwrap_or(0);
                hash.update(&bytes.slice_padded(at, len)?);
                at += len as u64;
            }
            if hash.finalize()[..] != sum {
                return Err(ImageError::Checksum);
            }
        }
        Ok(Staged { bytes, inspected: None, raw: None })
    }

    /// Safety inspection, then conversion to raw where the environment has a converter and the format asks for it.
    /// `limit` bounds the virtual size in bytes; `trusting` is the planted defect D52.
    pub(crate) async fn prepare(
        &self,
        staged: &mut Staged,
        image: &Image,
        name: &str,
        limit: u64,
        trusting: bool,
    ) -> Result<(), ImageError> {
        let inspected = inspect_with(&staged.bytes, image.disk_format, limit, trusting)?;
        let format = inspected.format;
        staged.inspected = Some(inspected);
        let in_process = match format {
            Format::Raw | Format::Iso => true,
            Format::Qcow2 => self.when == Converter::WhenNeeded,
            _ => false,
        };
        if in_process || !self.has_converter().await {
            return match format {
                Format::Raw | Format::Iso | Format::Qcow2 => Ok(()),
                other => Err(ImageError::Unsupported(format!("{other} without qemu-img"))),
            };
        }
        let Some(raw) = self.path(&format!("{name}.raw")) else { return Ok(()) };
        if let Some(parent) = raw.parent() {
            std::fs::create_dir_all(parent).map_err(|e| ImageError::Convert(e.to_string()))?;
        }
        let source = match &staged.bytes {
            ImageBytes::File { path, .. } => path.clone(),
            ImageBytes::Memory(content) => {
                let spilled = raw.with_extension("source");
                std::fs::write(&spilled, content).map_err(|e| ImageError::Convert(e.to_string()))?;
                spilled
            }
        };
        let source = std::path::absolute(source).map_err(|e| ImageError::Convert(e.to_string()))?;
        if format == Format::Vhdx {
            self.check_converter_size(&source, format, limit).await?;
        }
        let command = Command::new("qemu-img")
            .arg("convert")
            .arg("-f")
            .arg(format.qemu_name())
            .arg("-O")
            .arg("raw")
            .arg(&source)
            .arg(&raw);
        self.run(command).await?;
        let converted = ImageBytes::open(&raw)?;
        if converted.len() > limit {
            return Err(ImageError::TooBig { virtual_size: converted.len(), limit });
        }
        staged.raw = Some(converted);
        Ok(())
    }

    async fn check_converter_size(
        &self,
        source: &std::path::Path,
        format: Format,
        limit: u64,
    ) -> Result<(), ImageError> {
        let command = Command::new("qemu-img")
            .arg("info")
            .arg("--output=json")
            .arg("-f")
            .arg(format.qemu_name())
            .arg(source);
        let text = self.run(command).await?;
        let info: serde_json::Value =
            serde_json::from_slice(&text).map_err(|e| ImageError::Convert(e.to_string()))?;
        let size = info.get("virtual-size").and_then(serde_json::Value::as_u64);
        let has_backing = info.get("backing-filename").is_some();
        match size {
            _ if has_backing => Err(ImageError::Unsafe("backing file".into())),
            Some(virtual_size) if virtual_size <= limit => Ok(()),
            Some(virtual_size) => Err(ImageError::TooBig { virtual_size, limit }),
            None => Err(ImageError::Convert("qemu-img info told no size".into())),
        }
    }

    async fn run(&self, mut command: Command) -> Result<Vec<u8>, ImageError> {
        command.timeout = CONVERT_LIMIT;
        command.max_output = MAX_OUTPUT;
        let output = self.env.exec(command).await.map_err(|e| ImageError::Convert(e.to_string()))?;
        if output.status != 0 {
            let said: String = String::from_utf8_lossy(&output.stderr).chars().take(200).collect();
            return Err(ImageError::Convert(said));
        }
        Ok(output.stdout)
    }

    /// True when `qemu-img` runs here; asked once.
    async fn has_converter(&self) -> bool {
        *self
            .converter
            .get_or_init(|| async {
                if self.env.disk().directory().is_none() {
                    return false;
                }
                let probe = Command::new("qemu-img").arg("--version");
                let answer: Result<_, ExecError> = self.env.exec(probe).await;
                answer.is_ok_and(|output| output.status == 0)
            })
            .await
    }

    /// Removes everything that was staged under this name. Nothing there is success.
    pub(crate) fn dispose(&self, name: &str) -> Result<(), ImageError> {
        let Some(path) = self.path(&format!("{name}.raw")) else { return Ok(()) };
        for file in [path.with_extension("source"), path] {
            match std::fs::remove_file(&file) {
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                    return Err(ImageError::Convert(format!("{}: {e}", file.display())));
                }
                _ => {}
            }
        }
        Ok(())
    }
}
