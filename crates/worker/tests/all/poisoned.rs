//! Tables whose files are broken on purpose: their jobs fail with the file's name, at the first
//! attempt; the worker and the jobs of other tables go on.

use std::collections::BTreeSet;

use model::{EndReason, JobId, JobStatus};

use crate::lakehouse::Lakehouse;

/// What the worker says of a job that fails.
const JOB_FAILED: &str = "job_failed";

/// How a file is broken. It stays as long as it was, for a manifest says how long that is.
type Poison = fn(&mut [u8]);

/// The first page is said to unpack to 2 GiB.
fn huge_page(file: &mut [u8]) {
    let header = [
        0x15, 0x04, 0x15, 0xfe, 0xff, 0xff, 0xff, 0x0f, 0x15, 0x08, 0x4c, 0x15, 0x04, 0x15, 0, 0, 0,
    ];
    file[4..4 + header.len()].copy_from_slice(&header);
}

/// The first page is said to be a dictionary of two billion of values.
fn huge_dictionary(file: &mut [u8]) {
    let header = [
        0x15, 0x04, 0x15, 0x20, 0x15, 0x20, 0x4c, 0x15, 0xfe, 0xff, 0xff, 0xff, 0x0f, 0x15, 0, 0, 0,
    ];
    file[4..4 + header.len()].copy_from_slice(&header);
}

/// The schema is said to have one group in another, as deep as there is room, each of two
/// billion fields.
fn deep_footer(file: &mut [u8]) {
    let end = file.len() - 8;
    let length = u32::from_le_bytes(file[end..end + 4].try_into().unwrap()) as usize;
    let footer = &mut file[end - length..end];
    // Version 1; a list of structures; each has a name of no bytes and its children.
    let count = (length - 7) / 9;
    let mut made = vec![
        0x15,
        0x02,
        0x19,
        0xfc,
        count as u8 | 0x80,
        (count >> 7) as u8,
    ];
    for _ in 0..count {
        made.extend([0x48, 0x00, 0x15, 0xfe, 0xff, 0xff, 0xff, 0x0f, 0x00]);
    }
    made.resize(length, 0);
    footer.copy_from_slice(&made);
}

fn noise(file: &mut [u8]) {
    for (at, byte) in file.iter_mut().enumerate() {
        *byte = (at * 31 % 251) as u8;
    }
}

/// A table whose newest data file is broken, and its job.
async fn poisoned(house: &Lakehouse, name: &str, poison: Poison) -> (JobId, String) {
    let known = data_files(house);
    house.table(name).await;
    let own = data_files(house);
    let path = own.difference(&known).last().unwrap().clone();
    let mut bytes = std::fs::read(&path).unwrap();
    poison(&mut bytes);
    std::fs::write(&path, bytes).unwrap();
    (house.submit(name).await, path)
}

fn data_files(house: &Lakehouse) -> BTreeSet<String> {
    let mut found = house.there();
    found.retain(|path| path.ends_with(".parquet"));
    found
}

#[tokio::test]
async fn q23_broken_files_fail_their_own_jobs_by_name_and_no_others() {
    let house = Lakehouse::new().await;
    let poisons: [(&str, Poison); 4] = [
        ("page", huge_page),
        ("dictionary", huge_dictionary),
        ("footer", deep_footer),
        ("noise", noise),
    ];
    let mut jobs = Vec::new();
    for (name, poison) in poisons {
        jobs.push(poisoned(&house, name, poison).await);
    }
    let before = house.table("sound").await;
    let sound = house.submit("sound").await;
    house
        .work_off(&[("SNOWPACK_WORKER_SLOTS", "2")], &[JOB_FAILED])
        .await;
    for (job, path) in &jobs {
        let job = house.job(job).await;
        assert_eq!(
            (job.status, job.reason),
            (JobStatus::Failed, Some(EndReason::ActionFailed)),
            "{path}"
        );
        let error = job.error.unwrap();
        assert!(error.contains(path.as_str()), "{path}: {error}");
    }
    assert_eq!(house.status(&sound).await, JobStatus::Completed);
    house.rewritten_once("sound", &before).await;
}
