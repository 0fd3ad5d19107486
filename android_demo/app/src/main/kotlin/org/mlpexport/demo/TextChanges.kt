package org.mlpexport.demo

import android.text.Editable
import android.text.TextWatcher

/** Runs [run] after each change of a text. */
fun afterChange(run: () -> Unit) = object : TextWatcher {
    override fun beforeTextChanged(text: CharSequence?, start: Int, count: Int, after: Int) = Unit

    override fun onTextChanged(text: CharSequence?, start: Int, before: Int, count: Int) = Unit

    override fun afterTextChanged(text: Editable?) = run()
}
