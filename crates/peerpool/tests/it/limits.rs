//! What the process does not allow is said at the start.

use peerpool::bitcoin::Network;
use peerpool::{Pool, StartError};

use crate::alone::is_alone_with_files;

#[tokio::test]
async fn too_few_open_files_are_refused_by_name() {
    if !is_alone_with_files("limits::too_few_open_files_are_refused_by_name", 64) {
        return;
    }
    let error = Pool::builder(Network::Regtest).start().await.unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, StartError::OpenFiles { limit: 64, .. }), "{text}");
    assert!(text.contains("target_connect_count = 8") && text.contains("limited to 64"));
}

#[tokio::test]
async fn a_wrong_number_is_refused_by_name() {
    let error = Pool::builder(Network::Regtest).target(0).start().await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "target_connect_count = \"0\" is not allowed; allowed: a whole number from 1 to 1000"
    );
    let long = Pool::builder(Network::Regtest).user_agent("x".repeat(257)).start().await;
    assert!(matches!(long.unwrap_err(), StartError::UserAgent { length: 257 }));
}

#[tokio::test]
async fn a_data_directory_is_made_or_its_failure_told() {
    let base = std::env::temp_dir().join(format!("peerpool-data-{}", std::process::id()));
    let builder = || Pool::builder(Network::Regtest).no_dns();
    let pool = builder().data_dir(base.join("deep/inside")).start().await.unwrap();
    assert!(base.join("deep/inside").is_dir());
    drop(pool);
    std::fs::write(base.join("file"), "").unwrap();
    let error = builder().data_dir(base.join("file/inside")).start().await.unwrap_err();
    assert!(error.to_string().contains("file/inside"), "{error}");
    std::fs::remove_dir_all(base).unwrap();
}
