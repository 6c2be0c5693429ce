//! Products in files: out of a district and back into it, by the operator's program.

use std::fs;

use anyhow::{Context as _, Result};
use zhirong_proto::catalog::v1::{
    ListProductVersionsRequest, Product, ProductState, product_workflow_service_client::ProductWorkflowServiceClient,
};
use zhirong_tests::district::District;

async fn waiting(district: &District) -> Result<Vec<Product>> {
    let request = ListProductVersionsRequest {
        page_size: 500,
        state: ProductState::Submitted.into(),
        ..ListProductVersionsRequest::default()
    };
    let mut client = ProductWorkflowServiceClient::new(district.as_staff().await?);
    Ok(client.list_product_versions(request).await?.into_inner().products)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_catalog_goes_into_a_file_and_what_is_changed_there_comes_back_as_drafts() -> Result<()> {
    let district = District::start().await?;
    let token = district.folder().join("tokens/importer");
    fs::write(&token, district.token(&["staff"], "importer").await?)?;
    let token = token.display().to_string();
    let run = async |verb: &str, file: &str, more: &[&str]| {
        let file = district.folder().join(file).display().to_string();
        let arguments = ["products", verb, "--gateway", district.gateway(), "--token-file", &token, &file];
        district.zhirong(&[arguments.as_slice(), more].concat()).await
    };
    for name in ["products.yaml", "products.csv"] {
        assert!(run("export", name, &[]).await?.contains("311 products"));
        let same = run("import", name, &["--dry-run"]).await?;
        assert!(same.contains("0 new, 0 new versions, 311 unchanged, 0 bad; nothing was changed"), "{same}");
    }

    // One row of 311 is bad: it is named, and nothing is changed.
    let yaml = district.folder().join("products.yaml");
    let text = fs::read_to_string(&yaml)?;
    let good = text.replacen("max_term_months: 36", "max_term_months: 35", 1);
    let bad = good.replacen("limit_formula: ", "limit_formula: no_such_feature + ", 1);
    assert!(text != good && good != bad);
    fs::write(&yaml, bad)?;
    assert!(run("import", "products.yaml", &["--submit"]).await.is_err());
    assert_eq!(waiting(&district).await?, []);

    // Unless asked for.
    fs::write(&yaml, &good)?;
    let dry = run("import", "products.yaml", &["--dry-run"]).await?;
    assert!(dry.contains("spec.credit.max_term_months: 36 → 35"), "{dry}");
    assert!(dry.contains("1 new versions, 310 unchanged"), "{dry}");
    assert_eq!(waiting(&district).await?, []);
    run("import", "products.yaml", &["--submit"]).await?;
    let drafts = waiting(&district).await?;
    assert_eq!(drafts.len(), 1);
    assert_eq!(drafts.first().context("a draft")?.version, 2);
    district.stop().await
}
