package org.mlpexport.demo

class SettingsActivity : Screen()
