//! Documents that rows of several tables build together: parts and items, in every order of arrival.

use super::*;

/// The same for parts of a merged document and for items of its arrays.
pub fn at_one_position_a_written_part_beats_a_removed_one(sink: &Sink) {
    let sections = format!(
        "[[routes]]\ntable = \"*\"\nindex = \"{}\"\n[plugins]\ndir = {:?}\n[plugins.settings.shaper]\nmerge = \"id\"\nitem = [\"order_id\", \"id\"]\n",
        sink.index("merged"),
        guests::shaper().display().to_string()
    );
    let run = |records: &[Record]| sink.gateway(records, "linger = \"1s\"\n", &sections).run().ended_well();
    let parts = |id: u64| {
        let (order, line) = (json!({ "id": id, "state": "open" }), json!({ "order_id": id, "id": 9 }));
        [
            [delete("order", 200, order.clone()), insert("order", 200, order)],
            [delete("line", 300, line.clone()), insert("line", 300, line)],
        ]
    };
    for id in 1..=4 {
        for [d, c] in parts(id) {
            match id {
                1 => drop((run(&[d]), run(&[c]))),
                2 => drop((run(&[c]), run(&[d]))),
                3 => drop(run(&[d, c])),
                _ => drop(run(&[c, d])),
            }
        }
        let mut document =
            sink.elasticsearch.sources(&sink.index("merged")).remove(&id.to_string()).expect("a document");
        document.as_object_mut().expect("a document").remove("_rowmill");
        assert_eq!(document, json!({ "state": "open", "lines": [{ "id": 9 }] }), "case {id}");
    }
}

/// Rows of two tables build one document; every order of arrival of four changes ends in the same.
pub fn parts_of_two_tables_merge_in_every_order(sink: &Sink) {
    let changes = |id: u64| {
        [
            insert("order", 100 + id * 1000, json!({ "id": id, "state": "open" })),
            change(
                "order",
                300 + id * 1000,
                Some(json!({ "id": id, "state": "open" })),
                Some(json!({ "id": id, "state": "paid", "paid": 1 })),
            ),
            insert("buyer", 200 + id * 1000, json!({ "id": id, "name": "Ana" })),
            delete("buyer", 400 + id * 1000, json!({ "id": id, "name": "Ana" })),
        ]
    };
    // Documents with an even number keep the buyer's part.
    let kept = |id: u64| if id.is_multiple_of(2) { 3 } else { 4 };
    let mut records = Vec::new();
    let mut count = 0;
    for order in permutations(4) {
        for parity in 0..2 {
            let id = count * 2 + parity;
            records.extend(order.iter().filter(|place| **place < kept(id)).map(|place| changes(id)[*place].clone()));
        }
        count += 1;
    }
    let plugins = format!(
        "[[routes]]\ntable = \"*\"\nindex = \"{}\"\n[plugins]\ndir = {:?}\n[plugins.settings.shaper]\nmerge = \"id\"\n",
        sink.index("merged"),
        guests::shaper().display().to_string()
    );
    let gateway = sink.gateway(&records, "", &plugins);
    let run = gateway.run().ended_well();
    assert_eq!(run.number("dead_letters"), 0, "{}", run.log);
    let documents = sink.elasticsearch.sources(&sink.index("merged"));
    assert_eq!(documents.len() as u64, count * 2);
    for (id, mut document) in documents {
        document.as_object_mut().expect("a document").remove("_rowmill");
        let keeps = id.parse::<u64>().expect("a number").is_multiple_of(2);
        let wanted = if keeps {
            json!({ "state": "paid", "paid": 1, "name": "Ana" })
        } else {
            json!({ "state": "paid", "paid": 1 })
        };
        assert_eq!(document, wanted, "{id}");
    }
}

/// Rows become items of an array in the document that another table's rows begin; every order of arrival of inserts, an
/// update, a delete and a move to another document ends in the same. A truncate removes older parts.
pub fn items_of_an_array_converge_in_every_order(sink: &Sink) {
    let line = |order: u64, id: u64, sku: &str| json!({ "order_id": order, "id": id, "sku": sku });
    let changes = |order: u64| {
        let at = |place: u64| place + order * 1000;
        let (a, b) = (order, order + 1);
        [
            insert("order", at(100), json!({ "id": a, "state": "open" })),
            insert("line", at(101), line(a, 9, "first")),
            insert("line", at(102), line(a, 10, "second")),
            change("line", at(103), Some(line(a, 10, "second")), Some(line(a, 10, "changed"))),
            // It moves to another document.
            change("line", at(104), Some(line(a, 9, "first")), Some(line(b, 9, "first"))),
        ]
    };
    let mut records = Vec::new();
    let orders = permutations(5);
    for (number, order) in orders.iter().enumerate() {
        records.extend(order.iter().map(|place| changes(number as u64 * 2)[*place].clone()));
    }
    let sections = format!(
        "[[routes]]\ntable = \"*\"\nindex = \"{}\"\ntruncate = \"apply\"\n[plugins]\ndir = {:?}\n[plugins.settings.shaper]\nmerge = \"id\"\nitem = [\"order_id\", \"id\"]\n",
        sink.index("merged"),
        guests::shaper().display().to_string()
    );
    // Of the tables of the last sequence: older than its last change, newer than all before.
    let run = |records: &[Record]| {
        let gateway = sink.gateway(records, "", &sections);
        let run = gateway.run().ended_well();
        assert_eq!(run.number("dead_letters"), 0, "{}", run.log);
        let mut documents = sink.elasticsearch.sources(&sink.index("merged"));
        documents.values_mut().for_each(|document| {
            document.as_object_mut().expect("a document").remove("_rowmill");
        });
        documents
    };
    let documents = run(&records);
    assert_eq!(documents.len(), orders.len() * 2);
    for number in 0..orders.len() {
        let wanted = json!({ "state": "open", "lines": [{ "id": 10, "sku": "changed" }] });
        assert_eq!(documents[&(number * 2).to_string()], wanted, "{:?}", orders[number]);
        let wanted = json!({ "lines": [{ "id": 9, "sku": "first" }] });
        assert_eq!(documents[&(number * 2 + 1).to_string()], wanted, "{:?}", orders[number]);
    }
    let last = orders.len() as u64 * 2 - 2;
    let documents = run(&[truncate("line", last * 1000 + 104), insert("line", 50, line(4, 7, "late"))]);
    assert_eq!(documents["0"], json!({ "state": "open" }));
    assert_eq!(documents["1"], json!({}));
    assert_eq!(documents["4"], json!({ "state": "open" }), "a row that is older than the truncate comes too late");
    assert_eq!(documents[&(last + 1).to_string()], json!({ "lines": [{ "id": 9, "sku": "first" }] }), "it is as new");
}

/// A field that one table's part writes is no array for another table's items: the item is a dead letter, and what was
/// there stays.
pub fn an_item_does_not_overwrite_a_field_of_another_part(sink: &Sink) {
    let sections = format!(
        "[[routes]]\ntable = \"*\"\nindex = \"{}\"\n[plugins]\ndir = {:?}\n[plugins.settings.shaper]\nmerge = \"id\"\nitem = [\"order_id\", \"id\"]\n",
        sink.index("merged"),
        guests::shaper().display().to_string()
    );
    let order = insert("order", 100, json!({ "id": 1, "lines": "a text" }));
    let _ = sink.gateway(&[order], "", &sections).run().ended_well();
    let line = insert("line", 200, json!({ "order_id": 1, "id": 9 }));
    let gateway = sink.gateway(&[line], "", &sections);
    let run = gateway.run().ended_well();
    assert_eq!(run.number("dead_letters"), 1, "{}", run.log);
    let letter = &gateway.letters()[0]["error"];
    assert_eq!((&letter["stage"], &letter["id"]), (&json!("sink"), &json!("1")), "{letter}");
    assert_eq!(sink.elasticsearch.sources(&sink.index("merged"))["1"]["lines"], "a text");
}

/// If one of several parts in an update is invalid, only that part becomes a dead letter.
pub fn a_refused_part_takes_no_other_with_it(sink: &Sink) {
    let sections = format!(
        "[[routes]]\ntable = \"*\"\nindex = \"{}\"\n[plugins]\ndir = {:?}\n[plugins.settings.shaper]\nmerge = \"id\"\nitem = [\"order_id\", \"id\"]\n",
        sink.index("merged"),
        guests::shaper().display().to_string()
    );
    let mapping = json!({ "mappings": { "properties": { "name": { "type": "object" } } } });
    let (status, answer) = sink.elasticsearch.ask("PUT", &format!("/{}", sink.index("merged")), Some(&mapping));
    assert_eq!(status, 200, "{answer}");
    let records = [
        insert("buyer", 100, json!({ "id": 1, "name": "no object" })),
        insert("order", 101, json!({ "id": 1, "state": "open" })),
        insert("line", 102, json!({ "order_id": 1, "id": 9 })),
        insert("line", 103, json!({ "order_id": 1, "id": 10 })),
    ];
    // Long enough for one update of all.
    let gateway = sink.gateway(&records, "linger = \"1s\"\n", &sections);
    let run = gateway.run().ended_well();
    assert_eq!(run.number("dead_letters"), 1, "{:?}", gateway.letters());
    assert_eq!(gateway.letters()[0]["value"].as_str().map(str::as_bytes), records[0].value.as_deref());
    let mut document = sink.elasticsearch.sources(&sink.index("merged")).remove("1").expect("a document");
    document.as_object_mut().expect("a document").remove("_rowmill");
    assert_eq!(document, json!({ "state": "open", "lines": [{ "id": 9 }, { "id": 10 }] }));
}

/// A removed item leaves its key and version behind, and nothing else. A newer write of it takes that away too.
pub fn a_removed_item_leaves_only_its_version(sink: &Sink) {
    const ITEMS: u64 = 300;
    let sections = format!(
        "[[routes]]\ntable = \"*\"\nindex = \"{}\"\n[plugins]\ndir = {:?}\n[plugins.settings.shaper]\nmerge = \"id\"\nitem = [\"order_id\", \"id\"]\n",
        sink.index("merged"),
        guests::shaper().display().to_string()
    );
    let document = |records: &[Record]| {
        let run = sink.gateway(records, "", &sections).run().ended_well();
        assert_eq!(run.number("dead_letters"), 0, "{}", run.log);
        sink.elasticsearch.sources(&sink.index("merged")).remove("1").expect("a document")
    };
    let line = |id: u64| json!({ "order_id": 1, "id": id });
    let inserts = (0..ITEMS).map(|n| insert("line", 1000 + n, line(100 + n)));
    let deletes = (0..ITEMS).map(|n| delete("line", 2000 + n, line(100 + n)));
    let emptied = document(&inserts.chain(deletes).collect::<Vec<_>>());
    let gone = emptied["_rowmill"]["gone"]["lines"]["shop.line"].as_object().expect("the removed items");
    assert_eq!(gone.len() as u64, ITEMS);
    assert!(emptied.to_string().len() as u64 <= 100 + ITEMS * 30, "{emptied}");

    let late = insert("line", 1500, line(100));
    let again = (0..ITEMS).map(|n| insert("line", 3000 + n, line(100 + n)));
    assert_eq!(document(std::slice::from_ref(&late)), emptied, "an older write comes too late");
    let restored = document(&again.chain([late]).collect::<Vec<_>>());
    assert_eq!(restored["_rowmill"].get("gone"), None);
    let ids: Vec<u64> =
        restored["lines"].as_array().expect("items").iter().filter_map(|one| one["id"].as_u64()).collect();
    assert_eq!(ids, (100..100 + ITEMS).collect::<Vec<_>>());
}

fn permutations(n: usize) -> Vec<Vec<usize>> {
    if n == 0 {
        return vec![Vec::new()];
    }
    let shorter = permutations(n - 1);
    shorter
        .iter()
        .flat_map(|one| {
            (0..n).map(|at| {
                let mut longer = one.clone();
                longer.insert(at, n - 1);
                longer
            })
        })
        .collect()
}
