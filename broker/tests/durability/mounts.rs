//! File systems of the tests' own, to fill up and to cut the power of. Needs root; says so where it cannot be had.

use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// ext4's FS_IOC_SHUTDOWN with NOLOGFLUSH: what is not on the device yet never gets there. Waits for a word, so that the moment
/// is known to a millisecond.
const CUT_POWER: &str = "import fcntl, os, struct, sys\n\
    directory = os.open(sys.argv[1], os.O_RDONLY)\n\
    print('ready', flush=True)\n\
    sys.stdin.readline()\n\
    fcntl.ioctl(directory, 0x8004587d, struct.pack('I', 2))";

/// A mounted file system; unmounted when dropped.
pub struct Mount {
    directory: PathBuf,
    /// What to mount again after a power loss.
    image: Option<PathBuf>,
}

impl Mount {
    /// A tmpfs of the given size. `Err` says what is missing.
    pub fn tmpfs(directory: &Path, size_kib: u64) -> Result<Self, String> {
        fs::create_dir_all(directory).map_err(|error| error.to_string())?;
        let options = format!("size={size_kib}k");
        run(
            "mount",
            &["-t", "tmpfs", "-o", &options, "tmpfs", text(directory)],
        )?;
        Ok(Self {
            directory: directory.to_owned(),
            image: None,
        })
    }

    /// An ext4 on a loop device whose image lies beside. `Err` says what is missing.
    pub fn ext4(directory: &Path, image: &Path, size_bytes: u64) -> Result<Self, String> {
        fs::create_dir_all(directory).map_err(|error| error.to_string())?;
        let file = File::create(image).map_err(|error| error.to_string())?;
        file.set_len(size_bytes).map_err(|error| error.to_string())?;
        run("mkfs.ext4", &["-q", "-F", text(image)])?;
        run("python3", &["-c", "import fcntl"])?;
        run("mount", &["-o", "loop", text(image), text(directory)])?;
        Ok(Self {
            directory: directory.to_owned(),
            image: Some(image.to_owned()),
        })
    }

    /// Where it is mounted.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// From now on nothing reaches the device. Returns the moment just before.
    pub fn cut_power(&self) -> Instant {
        let mut cutter = Command::new("python3")
            .args(["-c", CUT_POWER, text(&self.directory)])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3 starts");
        let mut ready = [0; 5];
        let stdout = cutter.stdout.as_mut().expect("its output is piped");
        stdout.read_exact(&mut ready).expect("it gets ready");
        let cut = Instant::now();
        let mut stdin = cutter.stdin.take().expect("its input is piped");
        stdin.write_all(b"cut\n").expect("it reads");
        assert!(cutter.wait().expect("it ends").success(), "ext4 can be shut down");
        cut
    }

    /// Unmounts and mounts again: what the device holds is what there is.
    pub fn restore_power(&self) {
        let image = self.image.as_ref().expect("only a device survives a power loss");
        self.unmount().expect("nobody uses the file system");
        run("mount", &["-o", "loop", text(image), text(&self.directory)])
            .expect("the image can be mounted again");
    }

    /// Takes the free space but for `left_bytes`, with a file of the returned name.
    pub fn fill(&self, left_bytes: u64) -> PathBuf {
        let path = self.directory.join("filler");
        let mut file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&path)
            .expect("a directory entry needs no space");
        let chunk = [0xAA; 4096];
        let mut size_bytes = 0;
        while file.write_all(&chunk).is_ok() {
            size_bytes += chunk.len() as u64;
        }
        file.set_len(size_bytes.saturating_sub(left_bytes))
            .expect("a file can be cut");
        path
    }

    fn unmount(&self) -> Result<(), String> {
        let mut outcome = Ok(());
        // A process that was killed a moment ago may still be on its way out.
        for _ in 0..50 {
            outcome = run("umount", &[text(&self.directory)]);
            if outcome.is_ok() {
                break;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        outcome
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        if let Err(error) = self.unmount() {
            eprintln!("{} stays mounted: {error}", self.directory.display());
        }
    }
}

fn run(program: &str, arguments: &[&str]) -> Result<(), String> {
    let output = Command::new(program)
        .args(arguments)
        .output()
        .map_err(|error| format!("{program}: {error}"))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(format!(
            "{program}: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        )),
    }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("temporary paths are UTF-8")
}
