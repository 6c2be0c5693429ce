//! Times other rule engines on the products and profiles given on standard input: `cel` and `zen-expression` with every rule
//! compiled before, `zen-engine` with all products as one decision table that collects every hit. Answers on standard output:
//! for each engine the nanoseconds that one profile over all products takes, with everything computed and with the best 20
//! kept, and how many products were eligible in all, so that the caller sees whether they agree.

use std::{
    collections::{BTreeMap, BTreeSet},
    hint::black_box,
    io::Read as _,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use zen_engine::{DecisionEngine, model::DecisionContent};
use zen_expression::{compile_expression, variable::Variable, vm::VM};

#[derive(Deserialize)]
struct Task {
    products: Vec<Product>,
    profiles: Vec<BTreeMap<String, Value>>,
    lpr_1y_ppm: i64,
    /// How long each engine is measured.
    milliseconds: u64,
}

#[derive(Deserialize)]
struct Product {
    cel: Vec<String>,
    zen: Vec<String>,
    /// For a decision table: what each column must be.
    cells: BTreeMap<String, String>,
    limit: String,
    rate: String,
    zen_limit: String,
    zen_rate: String,
    min_fen: i64,
    max_fen: i64,
}

#[derive(Serialize)]
struct Timing {
    all_ns: f64,
    best_ns: f64,
    eligible: usize,
}

type Offer = (i64, i64, usize);

fn best(mut offers: Vec<Offer>) -> Vec<Offer> {
    if offers.len() > 20 {
        offers.select_nth_unstable(19);
        offers.truncate(20);
    }
    offers.sort_unstable();
    offers
}

/// Runs over the profiles until the time is over; gives the mean time of a profile.
fn timed(milliseconds: u64, profiles: usize, mut one: impl FnMut(usize) -> Result<usize>) -> Result<f64> {
    let (began, mut runs) = (Instant::now(), 0_usize);
    while began.elapsed() < Duration::from_millis(milliseconds) || runs == 0 {
        black_box(one(runs % profiles)?);
        runs += 1;
    }
    Ok(began.elapsed().as_nanos() as f64 / runs as f64)
}

fn measured(task: &Task, mut all: impl FnMut(usize) -> Result<Vec<Offer>>) -> Result<Timing> {
    let mut eligible = 0;
    for profile in 0..task.profiles.len() {
        eligible += all(profile)?.len();
    }
    let all_ns = timed(task.milliseconds, task.profiles.len(), |profile| Ok(all(profile)?.len()))?;
    let best_ns = timed(task.milliseconds, task.profiles.len(), |profile| Ok(best(all(profile)?).len()))?;
    Ok(Timing { all_ns, best_ns, eligible })
}

fn within(product: &Product, limit: i64, rate: i64, place: usize) -> Option<Offer> {
    let limit = limit.min(product.max_fen);
    (limit >= product.min_fen && (0..=360_000).contains(&rate)).then_some((rate, limit, place))
}

fn with_cel(task: &Task) -> Result<Timing> {
    use cel::{Context, Program, Value as Cel};
    let compile = |text: &String| Program::compile(text).map_err(|error| anyhow!("{text}: {error}"));
    let products: Vec<(Vec<Program>, Program, Program)> = task
        .products
        .iter()
        .map(|product| {
            let conditions = product.cel.iter().map(compile).collect::<Result<_>>()?;
            Ok((conditions, compile(&product.limit)?, compile(&product.rate)?))
        })
        .collect::<Result<_>>()?;
    let contexts: Vec<Context> = task
        .profiles
        .iter()
        .map(|profile| {
            let mut context = Context::default();
            let _ = context.add_function("min", |a: i64, b: i64| a.min(b));
            let _ = context.add_function("max", |a: i64, b: i64| a.max(b));
            context.add_variable_from_value("lpr_1y_ppm", task.lpr_1y_ppm);
            for (name, value) in profile {
                match value {
                    Value::Bool(flag) => context.add_variable_from_value(name.as_str(), *flag),
                    Value::String(text) => context.add_variable_from_value(name.as_str(), text.as_str()),
                    number => context.add_variable_from_value(name.as_str(), number.as_i64().unwrap_or(0)),
                }
            }
            context
        })
        .collect();
    measured(task, |profile| {
        let context = &contexts[profile];
        let mut found = Vec::new();
        for (place, (conditions, limit, rate)) in products.iter().enumerate() {
            // A feature that is not known is an undeclared name: an error, and no offer.
            if conditions.iter().all(|condition| matches!(condition.execute(context), Ok(Cel::Bool(true)))) {
                if let (Ok(Cel::Int(limit)), Ok(Cel::Int(rate))) = (limit.execute(context), rate.execute(context)) {
                    found.extend(within(&task.products[place], limit, rate, place));
                }
            }
        }
        Ok(found)
    })
}

/// The profile as zen knows it; what is not known stays away.
fn variables(task: &Task) -> Vec<Value> {
    task.profiles
        .iter()
        .map(|profile| {
            let mut known: serde_json::Map<String, Value> = profile.clone().into_iter().collect();
            known.insert("lpr_1y_ppm".to_owned(), json!(task.lpr_1y_ppm));
            Value::Object(known)
        })
        .collect()
}

fn number(variable: &Variable) -> Option<i64> {
    variable.to_value().as_f64().map(|number| number as i64)
}

fn with_zen_expression(task: &Task) -> Result<Timing> {
    let compile = |text: &String| compile_expression(text).map_err(|error| anyhow!("{text}: {error}"));
    let products: Vec<_> = task
        .products
        .iter()
        .map(|product| {
            let conditions = product.zen.iter().map(compile).collect::<Result<Vec<_>>>()?;
            Ok((conditions, compile(&product.zen_limit)?, compile(&product.zen_rate)?))
        })
        .collect::<Result<Vec<_>>>()?;
    let contexts: Vec<Variable> = variables(task).into_iter().map(Variable::from).collect();
    let mut vm = VM::new();
    measured(task, |profile| {
        let context = &contexts[profile];
        let mut found = Vec::new();
        for (place, (conditions, limit, rate)) in products.iter().enumerate() {
            let mut holds = |condition: &zen_expression::Expression<zen_expression::expression::Standard>| {
                matches!(condition.evaluate_with(context.clone(), &mut vm), Ok(Variable::Bool(true)))
            };
            if conditions.iter().all(&mut holds) {
                let limit = limit.evaluate_with(context.clone(), &mut vm);
                let rate = rate.evaluate_with(context.clone(), &mut vm);
                if let (Ok(limit), Ok(rate)) = (limit, rate) {
                    if let (Some(limit), Some(rate)) = (number(&limit), number(&rate)) {
                        found.extend(within(&task.products[place], limit, rate, place));
                    }
                }
            }
        }
        Ok(found)
    })
}

fn with_zen_engine(task: &Task) -> Result<Timing> {
    let fields: BTreeSet<&String> = task.products.iter().flat_map(|product| product.cells.keys()).collect();
    let inputs: Vec<Value> =
        fields.into_iter().map(|field| json!({ "id": field, "name": field, "field": field })).collect();
    let outputs: Vec<Value> =
        ["limit", "rate", "place"].map(|name| json!({ "id": name, "name": name, "field": name })).into();
    let rules: Vec<Value> = task
        .products
        .iter()
        .enumerate()
        .map(|(place, product)| {
            let mut rule = serde_json::Map::new();
            rule.insert("_id".to_owned(), json!(format!("r{place}")));
            rule.extend(product.cells.iter().map(|(field, cell)| (field.clone(), json!(cell))));
            rule.insert("limit".to_owned(), json!(product.zen_limit));
            rule.insert("rate".to_owned(), json!(product.zen_rate));
            rule.insert("place".to_owned(), json!(place.to_string()));
            Value::Object(rule)
        })
        .collect();
    let content: DecisionContent = serde_json::from_value(json!({
        "nodes": [
            { "id": "in", "name": "in", "type": "inputNode", "content": {} },
            { "id": "dt", "name": "dt", "type": "decisionTableNode",
              "content": { "hitPolicy": "collect", "inputs": inputs, "outputs": outputs, "rules": rules } },
            { "id": "out", "name": "out", "type": "outputNode", "content": {} }
        ],
        "edges": [
            { "id": "e1", "sourceId": "in", "targetId": "dt" },
            { "id": "e2", "sourceId": "dt", "targetId": "out" }
        ]
    }))?;
    let mut decision = DecisionEngine::default().create_decision(Arc::new(content)).context("a decision")?;
    decision.compile();
    let contexts: Vec<Variable> = variables(task).into_iter().map(Variable::from).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    measured(task, |profile| {
        let answer = runtime
            .block_on(decision.evaluate(contexts[profile].shallow_clone()))
            .map_err(|error| anyhow!("{error:?}"))?
            .result;
        let Variable::Array(rows) = &answer else { return Ok(Vec::new()) };
        let mut found = Vec::new();
        for row in rows.borrow().iter() {
            let of = |name: &str| row.dot(name).as_ref().and_then(number);
            if let (Some(limit), Some(rate), Some(place)) = (of("limit"), of("rate"), of("place")) {
                let place = place as usize;
                found.extend(within(&task.products[place], limit, rate, place));
            }
        }
        Ok(found)
    })
}

fn main() -> Result<()> {
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text)?;
    let task: Task = serde_json::from_str(&text)?;
    let timings = json!({
        "cel": with_cel(&task)?,
        "zen_expression": with_zen_expression(&task)?,
        "zen_engine": with_zen_engine(&task)?,
    });
    println!("{timings}");
    Ok(())
}
